//! The webhooks of a configuration file: a table `[webhooks.NAME]` each.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use saga_core::Status;
use serde::Deserialize;

use super::Reader;
use crate::declared::SecretSource;
use crate::request::parse_duration;
use crate::webhooks::{OCCASIONS, Webhook, Webhooks};

/// The name of the table.
pub(super) const TABLE: &str = "webhooks";
/// What a reference to a secret begins with.
const SECRET: &str = "secret://";

/// What a file says of webhooks, unread.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) tables: Option<toml::Value>,
    pub(super) file: PathBuf,
}

/// One table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: String,
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    definitions: Vec<String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    give_up: Option<String>,
    #[serde(default)]
    disable_after: Option<String>,
}

impl Reader<'_> {
    pub(super) fn webhooks(&mut self) -> Webhooks {
        let Given { tables, file } = &self.values.1;
        let Some(tables) = tables else { return Webhooks::default() };
        let Some(tables) = tables.as_table() else {
            let file = file.display();
            self.faults.0.push(format!("`{TABLE}` in {file}: expected tables [webhooks.NAME]"));
            return Webhooks::default();
        };
        let mut hooks = Vec::new();
        let mut faults = Vec::new();
        for (name, table) in tables {
            match table.clone().try_into::<Table>().map_err(|error| vec![error.to_string()]) {
                Ok(table) => match webhook(name, table) {
                    Ok(hook) => hooks.push(hook),
                    Err(more) => faults.extend(more.into_iter().map(|fault| (name, fault))),
                },
                Err(more) => {
                    faults.extend(more.into_iter().map(|fault| (name, fault.trim().to_owned())));
                }
            }
        }
        let faults = faults.into_iter().map(|(name, fault)| {
            format!("`webhooks.{name}` in {}: {}", file.display(), fault.replace('\n', " "))
        });
        self.faults.0.extend(faults);
        let secrets = SecretSource::new(self.folder("secrets_folder"));
        let allowed = self.allow_hosts();
        Webhooks::new(hooks, secrets, allowed).unwrap_or_else(|faults| {
            self.faults.0.extend(faults);
            Webhooks::default()
        })
    }
}

fn webhook(name: &str, table: Table) -> Result<Webhook, Vec<String>> {
    let mut faults = Vec::new();
    let url = Url::parse(&table.url).map_err(|error| {
        // Not the value: a query may hold a secret.
        faults.push(format!(
            "`url` is no URL ({error}): expected one such as https://shop.example/hooks"
        ));
    });
    let mut duration = |key: &str, text: Option<String>, default: Duration| {
        let Some(text) = text else { return default };
        parse_duration(&text).filter(|duration| !duration.is_zero()).unwrap_or_else(|| {
            faults.push(format!("`{key}` is {text:?}: expected a duration such as 10s, 12h or 3d"));
            default
        })
    };
    let timeout = duration("timeout", table.timeout, Webhook::TIMEOUT);
    let give_up = duration("give_up", table.give_up, Webhook::GIVE_UP);
    let disable_after = duration("disable_after", table.disable_after, Webhook::DISABLE_AFTER);
    let mut events = OCCASIONS.into();
    if let Some(words) = table.events {
        let event = |word: &String| {
            let known = OCCASIONS.into_iter().find(|known| known.as_str() == word);
            let all = OCCASIONS.map(Status::as_str).join(", ");
            known.ok_or_else(|| format!("`events` holds {word:?}: expected {all}"))
        };
        let (good, bad): (Vec<_>, Vec<_>) = words.iter().map(event).partition(Result::is_ok);
        events = good.into_iter().filter_map(Result::ok).collect();
        faults.extend(bad.into_iter().filter_map(Result::err));
    }
    let mut secrets = Vec::new();
    for text in table.secrets {
        match text.strip_prefix(SECRET) {
            Some(secret) => secrets.push(secret.to_owned()),
            None => faults.push(
                "`secrets` holds a value: expected references such as secret://SHOP_HOOK"
                    .to_owned(),
            ),
        }
    }
    let definitions = table.definitions.into_iter().collect();
    match url {
        Ok(url) if faults.is_empty() => Ok(Webhook {
            events,
            definitions,
            secrets,
            timeout,
            give_up,
            disable_after,
            ..Webhook::new(name, url)
        }),
        _ => Err(faults),
    }
}

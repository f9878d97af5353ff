//! Making API keys.

use std::process::ExitCode;

use clap::Subcommand;
use saga_core::Timestamp;
use serde_json::json;

use super::Stop;
use crate::access::{ApiKey, Role, now};
use crate::request::parse_duration;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a key: its text goes to standard output, once; what to put into the keys file to
    /// standard error.
    New {
        /// Its name in the log of commands: lower-case letters, digits and hyphens.
        id: String,
        /// What its holder may do.
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is valid, such as 90d. Without it, until it is taken out of the keys file.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// All of it as one JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn act(action: &Action) -> Result<ExitCode, Stop> {
    let Action::New { id, role, expires, json } = action;
    let (mut key, text) = ApiKey::create(id, *role).map_err(Stop::failed)?;
    if let Some(expires) = expires {
        let valid = parse_duration(expires).ok_or_else(|| {
            Stop::failed(format!("--expires {expires:?}: expected a duration such as 90d or 12h"))
        })?;
        key = key.expiring(now().saturating_add(valid.as_secs()));
    }
    if *json {
        let mut all = json!(key);
        all["key"] = json!(text);
        println!("{all:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{text}");
    let expires = key.expires.map_or_else(String::new, |at| {
        let micros = i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        format!("\nexpires = {at} # {}", Timestamp::from_micros(micros))
    });
    eprintln!(
        "# Hand the line above to the holder; it is kept nowhere. Add this to the keys file:\n\
         [[keys]]\nid = \"{}\"\nrole = \"{}\"\nsha256 = \"{}\"{expires}",
        key.id, key.role, key.sha256
    );
    Ok(ExitCode::SUCCESS)
}

//! The participants of a definition, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use saga_core::BreakerPolicy;

use super::fault::Code;
use super::fields::Fields;
use super::keys::PARTICIPANT;
use super::nearest::nearest;
use super::node::{Node, Scalar, Value, shorten};
use super::reads::check_shared;
use super::request::{Common, statuses};
use super::source::{Mark, Source};
use super::{headers, policy, target, values};
use crate::outbound::{Outbound, Refused};

/// The participants that a file names.
#[derive(Debug, Default)]
pub(super) struct Participants(BTreeMap<String, Arc<Participant>>);

/// Whom a step calls.
#[derive(Debug, Default)]
pub(super) struct Participant {
    /// `None` for a step that calls full URLs.
    pub(super) name: Option<String>,
    pub(super) common: Common,
    pub(super) breaker: Option<BreakerPolicy>,
}

impl Participants {
    pub(super) fn read(
        source: &Source<'_>,
        node: &Node,
        inherited: Option<&BreakerPolicy>,
        outbound: &mut Outbound,
    ) -> Self {
        let mut participants = BTreeMap::new();
        for (name, key, value) in values::map(source, node, "participant") {
            if let Some(why) = name_fault(name) {
                source.fault(
                    key.mark,
                    Code::Value,
                    format!("the participant's name {name:?} {why}"),
                );
            }
            let mut participant = participant(source, value, inherited, outbound);
            participant.name = Some(name.to_owned());
            participants.insert(name.to_owned(), Arc::new(participant));
        }
        Self(participants)
    }

    /// Whom a step calls. `None` when it names somebody unknown, or somebody whose URL is faulty.
    pub(super) fn of(&self, source: &Source<'_>, step: &Fields<'_>) -> Option<Arc<Participant>> {
        let Some(node) = step.get("participant") else { return Some(Arc::default()) };
        let name = values::name(source, node, "participant")?;
        let found = self.0.get(&name);
        if found.is_none() {
            let names: Vec<_> = self.0.keys().map(String::as_str).collect();
            let message = match names.is_empty() {
                true => format!(
                    "there is no participant `{}`: expected it in `participants`",
                    shorten(&name)
                ),
                false => format!(
                    "there is no participant `{}`: expected one of {}",
                    shorten(&name),
                    names.join(", ")
                ),
            };
            let help = nearest(&name, names).map(|meant| format!("did you mean `{meant}`?"));
            source.fault_with(node.mark, Code::Saga, message, help);
        }
        found.filter(|participant| participant.common.base.is_some()).cloned()
    }
}

fn participant(
    source: &Source<'_>,
    node: &Node,
    inherited: Option<&BreakerPolicy>,
    outbound: &mut Outbound,
) -> Participant {
    if let Value::Scalar(Scalar::Text(url)) = &node.value {
        let base = base(source, node.mark, url, outbound);
        return Participant {
            common: Common { base, ..Common::default() },
            ..Participant::default()
        };
    }
    let Some(fields) = Fields::open(source, node, &PARTICIPANT) else {
        return Participant::default();
    };
    let url = fields.get("url");
    let url = url.and_then(|node| Some((node.mark, values::text(source, node, "a base URL")?)));
    let headers = fields.get("headers").map(|node| headers::read(source, node)).unwrap_or_default();
    for header in &headers {
        header
            .value
            .expressions()
            .for_each(|expression| check_shared(source, node.mark, expression));
    }
    let breaker = fields
        .get("breaker")
        .map(|node| policy::breaker(source, node, inherited.cloned().unwrap_or_default()));
    Participant {
        name: None,
        common: Common {
            base: url.and_then(|(mark, url)| base(source, mark, url, outbound)),
            headers: headers.into_iter().map(Arc::new).collect(),
            rejected: fields.get("rejected").map(|node| statuses(source, node)),
            answer_max: fields.get("answer_max").and_then(|node| values::size(source, node)),
        },
        breaker,
    }
}

fn base(
    source: &Source<'_>,
    mark: Mark,
    url: &str,
    outbound: &mut Outbound,
) -> Option<reqwest::Url> {
    let base = target::base(source, mark, url)?;
    named(source, mark, &base, outbound).then_some(base)
}

/// Names a server to the guard; what it refuses is a fault.
pub(super) fn named(
    source: &Source<'_>,
    mark: Mark,
    url: &reqwest::Url,
    outbound: &mut Outbound,
) -> bool {
    let named = outbound.name(url);
    match &named {
        Ok(()) => {}
        Err(Refused::Credentials) => {
            let message = Refused::Credentials.to_string();
            source.fault_unshown(mark, Code::Url, message, None::<String>);
        }
        Err(refused) => source.fault(mark, Code::Url, refused.to_string()),
    }
    named.is_ok()
}

/// What is wrong with a name that goes into metrics.
fn name_fault(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match () {
        () if name.is_empty() => Some("is empty: expected lower-case letters, digits and hyphens"),
        () if name.len() > 64 => Some("is too long: expected at most 64 bytes"),
        () if !name.chars().all(legal) => Some("is not of lower-case letters, digits and hyphens"),
        () => None,
    }
}

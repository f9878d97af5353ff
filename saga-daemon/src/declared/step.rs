//! Steps as a file describes them.

use reqwest::Url;
use saga_core::{BreakerPolicy, RetryPolicy, Step, StepKind, StepSpec};
use saga_worker::HttpParticipantError;
use serde_json::Value;

use super::fault::Code;
use super::fields::Fields;
use super::keys::STEP;
use super::node::Node;
use super::participant::Participants;
use super::policy;
use super::request::CallPlan;
use super::secret::SecretSource;
use super::source::{Mark, Source};
use super::values;

/// How long one attempt may take where nothing else is said.
const TIMEOUT_MS_DEFAULT: u64 = 3_000;

/// What steps inherit.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) timeout_ms: Option<u64>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) compensation_timeout_ms: Option<u64>,
    pub(super) compensation_retry: Option<RetryPolicy>,
    pub(super) breaker: Option<BreakerPolicy>,
}

/// A step, with the places of what was said about it.
#[derive(Debug)]
pub(super) struct StepPlan {
    pub(super) spec: StepSpec,
    pub(super) action: Option<CallPlan>,
    pub(super) compensation: Option<CallPlan>,
    pub(super) marks: Marks,
}

/// Where the parts of a step stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub(super) step: Mark,
    pub(super) name: Mark,
    pub(super) call: Mark,
    pub(super) timeout: Mark,
    pub(super) retry: Mark,
    pub(super) compensation_timeout: Mark,
    pub(super) compensation_retry: Mark,
    pub(super) breaker: Mark,
}

impl StepPlan {
    /// Reads a step. `None` where not even its name and kind are known.
    pub(super) fn read(
        source: &Source<'_>,
        node: &Node,
        stage: u16,
        inherited: &Inherited,
        participants: &Participants,
    ) -> Option<Self> {
        let fields = Fields::open(source, node, &STEP)?;
        let name = fields.get("name").and_then(|node| values::name(source, node, "step"));
        let (key, kind) = kind(&fields)?;
        let named = participants.of(source, &fields);
        let call = |key| CallPlan::read(source, fields.get(key)?, &named.as_ref()?.common);
        let (action, compensation) = (call(key), call("compensation"));
        if kind == StepKind::Compensatable {
            pair(source, &fields);
        } else {
            only_with_compensation(source, &fields, key);
        }
        let server = action.as_ref().map(|plan| server(&plan.target.base));
        let participant = named.as_ref().and_then(|named| named.name.clone()).or(server);
        let name = name?;
        let base = match kind {
            StepKind::Compensatable => RetryPolicy::ACTION,
            StepKind::Pivot | StepKind::Retriable => RetryPolicy::PERSISTENT,
        };
        let retry_of = |key: &str, inherited: &Option<RetryPolicy>, base: RetryPolicy| {
            let base = inherited.clone().unwrap_or(base);
            match fields.get(key) {
                Some(node) => policy::retry(source, node, base),
                None => base,
            }
        };
        let ms = |key, inherited: Option<u64>| {
            policy::ms(source, &fields, key).or(inherited).unwrap_or(TIMEOUT_MS_DEFAULT)
        };
        let breaker = named.as_ref().and_then(|named| named.breaker.clone());
        let breaker = breaker.or(inherited.breaker.clone()).unwrap_or_default();
        let spec = StepSpec {
            participant: participant.unwrap_or_else(|| name.clone()),
            name,
            kind,
            stage,
            timeout_ms: ms("timeout", inherited.timeout_ms),
            retry: retry_of("retry", &inherited.retry, base),
            compensation_timeout_ms: ms("compensation_timeout", inherited.compensation_timeout_ms),
            compensation_retry: retry_of(
                "compensation_retry",
                &inherited.compensation_retry,
                RetryPolicy::PERSISTENT,
            ),
            breaker: match fields.get("breaker") {
                Some(node) => policy::breaker(source, node, breaker),
                None => breaker,
            },
        };
        Some(Self { spec, action, compensation, marks: marks(&fields, key) })
    }

    /// The step as the engine runs it. `None` when a call is missing, of which a fault has told.
    pub(super) fn build(
        self,
        client: &reqwest::Client,
        secrets: &SecretSource,
    ) -> Result<Option<Step>, HttpParticipantError> {
        let Some(action) = self.action else { return Ok(None) };
        let spec = self.spec;
        let (name, participant) = (spec.name.as_str(), spec.participant.as_str());
        let action = action.build(participant, client, secrets)?;
        let step = match (spec.kind, self.compensation) {
            (StepKind::Compensatable, Some(compensation)) => {
                let compensation = compensation.build(participant, client, secrets)?;
                Step::compensatable_calls::<Value>(name, action, compensation)
            }
            (StepKind::Compensatable, None) => return Ok(None),
            (StepKind::Pivot, _) => Step::pivot_call::<Value>(name, action),
            (StepKind::Retriable, _) => Step::retriable_call::<Value>(name, action),
        };
        let step = step
            .participant(participant)
            .timeout(spec.timeout())
            .retry(spec.retry.clone())
            .compensation_timeout(spec.compensation_timeout())
            .compensation_retry(spec.compensation_retry.clone())
            .breaker(spec.breaker.clone());
        Ok(Some(step))
    }
}

/// The key of the call, and the kind of step that it makes.
fn kind(fields: &Fields<'_>) -> Option<(&'static str, StepKind)> {
    [
        ("action", StepKind::Compensatable),
        ("pivot", StepKind::Pivot),
        ("retriable", StepKind::Retriable),
    ]
    .into_iter()
    .find(|(key, _)| fields.get(key).is_some())
}

fn pair(source: &Source<'_>, fields: &Fields<'_>) {
    if fields.get("compensation").is_none() {
        let message = "`action` has no `compensation`: expected the call that undoes it";
        let help = "a step that cannot be undone is a `pivot`, or after it a `retriable`";
        source.fault_with(fields.mark_of("action"), Code::Key, message, Some(help));
    }
}

fn only_with_compensation(source: &Source<'_>, fields: &Fields<'_>, key: &str) {
    for name in ["compensation", "compensation_timeout", "compensation_retry"] {
        if fields.get(name).is_some() {
            let message =
                format!("`{name}` stands beside `{key}`: only an `action` is compensated");
            source.fault(fields.mark_of(name), Code::Key, message);
        }
    }
}

fn marks(fields: &Fields<'_>, key: &str) -> Marks {
    let value = |key: &str| fields.get(key).map_or(fields.mark, |node| node.mark);
    Marks {
        step: fields.mark,
        name: value("name"),
        call: fields.mark_of(key),
        timeout: value("timeout"),
        retry: fields.mark_of("retry"),
        compensation_timeout: value("compensation_timeout"),
        compensation_retry: fields.mark_of("compensation_retry"),
        breaker: fields.mark_of("breaker"),
    }
}

/// A server as the name of a participant, whose breaker all its steps share.
fn server(base: &Url) -> String {
    let host = base.host_str().unwrap_or_default();
    base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

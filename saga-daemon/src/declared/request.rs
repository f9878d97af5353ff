//! One call: read from a file, checked, and made for each attempt.

use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use reqwest::{Method, Url};
use saga_core::{Failure, Op, StepContext};
use saga_worker::{HttpCall, HttpParticipant, HttpParticipantError, HttpRequest, MapRequest};

use super::body::Body;
use super::expression::Expression;
use super::fault::Code;
use super::fields::Fields;
use super::headers::{self, Header, HeaderFault};
use super::keys::{CALL, METHODS};
use super::node::{self, Node, Scalar};
use super::secret::SecretSource;
use super::source::{Mark, Source};
use super::target::Target;
use super::values;

/// Most expressions of one body: each may bring a whole payload.
const EXPRESSIONS_MAX: usize = 200;

/// What all calls to a participant have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) base: Option<Url>,
    pub(super) headers: Vec<Arc<Header>>,
    pub(super) rejected: Option<Vec<u16>>,
    pub(super) answer_max: Option<usize>,
}

/// A call as a file describes it.
#[derive(Debug)]
pub(super) struct CallPlan {
    pub(super) mark: Mark,
    pub(super) target: Target,
    method: Method,
    headers: Vec<Arc<Header>>,
    body: Option<Body>,
    rejected: Option<Vec<u16>>,
    answer_max: Option<usize>,
}

impl CallPlan {
    /// Reads a path, a URL, or a mapping with more to say.
    pub(super) fn read(source: &Source<'_>, node: &Node, common: &Common) -> Option<Self> {
        let fields = match &node.value {
            node::Value::Scalar(Scalar::Text(text)) => {
                let target = Target::read(source, node.mark, text, common.base.as_ref())?;
                return Some(Self::plain(node.mark, target, common));
            }
            node::Value::Map(_) => Fields::open(source, node, &CALL)?,
            _ => {
                let message = format!("expected a path, a URL or a mapping, found {}", node.kind());
                source.fault(node.mark, Code::Type, message);
                return None;
            }
        };
        let method = fields.get("method").and_then(|node| values::word(source, node, &METHODS));
        let own = fields.get("headers").map(|node| headers::read(source, node)).unwrap_or_default();
        let body = fields.get("body").map(|node| read_body(source, node));
        let rejected = fields.get("rejected").map(|node| statuses(source, node));
        let answer_max = fields.get("answer_max").and_then(|node| values::size(source, node));
        let url = fields.get("url")?;
        let text = values::text(source, url, "a path or a URL")?;
        let target = Target::read(source, url.mark, text, common.base.as_ref())?;
        let mut plan = Self::plain(node.mark, target, common);
        plan.headers.extend(own.into_iter().map(Arc::new));
        plan.method = method.and_then(|word| word.parse().ok()).unwrap_or(Method::POST);
        plan.body = body;
        plan.rejected = rejected.or(plan.rejected);
        plan.answer_max = answer_max.or(plan.answer_max);
        Some(plan)
    }

    fn plain(mark: Mark, target: Target, common: &Common) -> Self {
        Self {
            mark,
            target,
            method: Method::POST,
            headers: common.headers.clone(),
            body: None,
            rejected: common.rejected.clone(),
            answer_max: common.answer_max,
        }
    }

    /// Every expression of the call itself (those in a participant's headers are checked with the
    /// participant), and whether it is a part of a text.
    pub(super) fn each_expression(&mut self, visit: &mut impl FnMut(&mut Expression, bool)) {
        let target = &mut self.target;
        target.path.expressions_mut().for_each(|expression| visit(expression, true));
        let query = target.query.iter_mut().flat_map(|query| query.expressions_mut());
        query.for_each(|expression| visit(expression, true));
        for header in &mut self.headers {
            // A header of the participant is shared, and reads no outputs.
            if let Some(header) = Arc::get_mut(header) {
                header.value.expressions_mut().for_each(|expression| visit(expression, true));
            }
        }
        if let Some(body) = &mut self.body {
            body.each_expression(visit);
        }
    }

    /// The names of the secrets it sends.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().flat_map(|header| header.value.secrets())
    }

    /// The call as the worker makes it.
    pub(super) fn build(
        self,
        participant: &str,
        client: &reqwest::Client,
        secrets: &SecretSource,
    ) -> Result<HttpCall, HttpParticipantError> {
        let base =
            HttpParticipant::with_client(participant, self.target.base.as_str(), client.clone())?;
        let url = self.target.fixed().unwrap_or_else(|_| self.target.base.clone());
        let below = url.as_str().strip_prefix(self.target.base.as_str()).unwrap_or_default();
        let mut call = base.call(&format!("./{below}"))?.method(self.method.clone());
        if let Some(rejected) = &self.rejected {
            call = call.rejected_on(rejected.iter().copied());
        }
        if let Some(bytes) = self.answer_max {
            call = call.answer_bytes_max(bytes);
        }
        let is_mapped =
            !self.target.is_literal() || !self.headers.is_empty() || self.body.is_some();
        Ok(match is_mapped {
            true => call.map(Mapping { plan: self, secrets: secrets.clone() }),
            false => call,
        })
    }
}

fn read_body(source: &Source<'_>, node: &Node) -> Body {
    let mut body = Body::read(source, node);
    let mut count = 0;
    body.each_expression(&mut |_, _| count += 1);
    if count > EXPRESSIONS_MAX {
        let message =
            format!("the body has {count} expressions: expected at most {EXPRESSIONS_MAX}");
        source.fault(node.mark, Code::Expression, message);
    }
    body
}

/// Reads the statuses that mean a rejection.
pub(super) fn statuses(source: &Source<'_>, node: &Node) -> Vec<u16> {
    let mut statuses = Vec::new();
    for item in values::list(source, node, "statuses such as 409") {
        match values::count(source, item, 400, 499).and_then(|value| u16::try_from(value).ok()) {
            Some(status @ (408 | 425 | 429)) => {
                let message = format!(
                    "{status} says that the outcome is unknown or that it is too early: expected a status by which the participant says no"
                );
                source.fault(item.mark, Code::Value, message);
            }
            Some(status) => statuses.push(status),
            None => {}
        }
    }
    statuses
}

/// Fills in the request of each attempt.
struct Mapping {
    plan: CallPlan,
    secrets: SecretSource,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl MapRequest for Mapping {
    fn map(&self, context: &StepContext, request: &mut HttpRequest) -> Result<(), Failure> {
        // Nothing was sent, so the attempt had no effect, and no further attempt would be better.
        let no = |why: String| Failure::rejected(format_args!("the request cannot be made: {why}"));
        let scope = scope(context)?;
        if !self.plan.target.is_literal() {
            request.set_url(self.plan.target.fill(&scope).map_err(no)?)?;
        }
        for header in &self.plan.headers {
            header.fill(&scope, &self.secrets, request).map_err(|fault| match fault {
                HeaderFault::Value(why) => no(why),
                HeaderFault::Secret(why) => Failure::transient(why),
            })?;
        }
        if let Some(body) = &self.plan.body {
            let own_is_known = context.op == Op::Action || own_output(context).is_some();
            request.set_body(body.fill(&scope, own_is_known).map_err(no)?);
        }
        Ok(())
    }
}

fn own_output(context: &StepContext) -> Option<&saga_core::StepOutput> {
    context.outputs.iter().find(|output| output.step == context.step)
}

/// What expressions can read.
fn scope(context: &StepContext) -> Result<Value, Failure> {
    let decode = |payload: &saga_core::Payload| -> Result<Value, Failure> {
        Ok(Value::from(Serde(payload.decode::<serde_json::Value>()?)))
    };
    let mut outputs = Vec::new();
    for output in &context.outputs {
        outputs.push((output.step.replace('-', "_"), decode(&output.value)?));
    }
    let mut scope = vec![
        ("input", decode(&context.input)?),
        ("outputs", Value::from_pairs(outputs)),
        ("saga_id", context.saga_id.to_string().into()),
        ("saga", context.saga.to_string().into()),
        ("step", context.step.to_string().into()),
        ("op", context.op.to_string().into()),
        ("attempt", context.attempt.into()),
        ("idempotency_key", context.idempotency_key().as_str().to_owned().into()),
    ];
    if let Some(own) = own_output(context).filter(|_| context.op == Op::Compensation) {
        scope.push(("output", decode(&own.value)?));
    }
    Ok(Value::from_pairs(scope))
}

//! A whole definition: from the tree of a file to what the engine runs.

use std::collections::BTreeSet;
use std::time::Duration;

use saga_core::{Definition, DefinitionSpec, Digest, Fault, Op, parallel};

use super::fault::Code;
use super::fields::Fields;
use super::keys::{DEFAULTS, DEFINITION, GROUP};
use super::node::{Node, Scalar, Value};
use super::participant::{Participants, named};
use super::reads::{Reader, Reads};
use super::source::{Mark, Source};
use super::step::{Inherited, Marks, StepPlan};
use super::{Declared, Options, policy, values};
use crate::outbound::{AllowedHost, Outbound};

/// What was read of a file, even of a faulty one.
#[derive(Debug)]
pub(super) struct Reading {
    /// Name, version, and where the name stands.
    pub(super) heading: Option<(String, u32, Mark)>,
    /// Only where the file has no fault.
    pub(super) declared: Option<Declared>,
}

/// A definition on the way, with the places of its parts.
struct Plan {
    spec: DefinitionSpec,
    /// The steps of each stage.
    stages: Vec<Vec<StepPlan>>,
    name: Mark,
    version: Mark,
    deadline: Mark,
    steps: Mark,
    groups: Vec<Mark>,
}

/// Reads a definition from the tree of a file.
pub(super) fn read(source: &Source<'_>, node: &Node, options: &Options) -> Reading {
    let mut reading = Reading { heading: None, declared: None };
    let Some(fields) = Fields::open(source, node, &DEFINITION) else { return reading };
    let name = fields.get("name").and_then(|node| values::name(source, node, "definition"));
    let version = match fields.get("version") {
        Some(_) => policy::count(source, &fields, &DEFINITION, "version"),
        None => Some(1),
    };
    let name_mark = fields.get("name").map_or(fields.mark, |node| node.mark);
    if let (Some(name), Some(version)) = (&name, version) {
        reading.heading = Some((name.clone(), version, name_mark));
    }
    let deadline_ms = policy::ms(source, &fields, "deadline");
    let allowed = options.allow_hosts.clone().and(allow_hosts(source, &fields));
    let mut outbound = Outbound::new(allowed).lookup(options.lookup.clone());
    let inherited = fields.get("defaults").map(|node| defaults(source, node)).unwrap_or_default();
    let participants = fields
        .get("participants")
        .map(|node| Participants::read(source, node, inherited.breaker.as_ref(), &mut outbound));
    let Some(steps) = fields.get("steps") else { return reading };
    let (stages, groups) =
        stages(source, steps, &inherited, &participants.unwrap_or_default(), &mut outbound);
    let specs = stages.iter().flatten().map(|step| step.spec.clone()).collect();
    let mut plan = Plan {
        spec: DefinitionSpec {
            name: name.unwrap_or_else(|| "unnamed".to_owned()),
            version: version.unwrap_or(1),
            deadline_ms,
            steps: specs,
        },
        stages,
        name: name_mark,
        version: fields.mark_of("version"),
        deadline: fields.mark_of("deadline"),
        steps: fields.mark_of("steps"),
        groups,
    };
    plan.check(source, matches!(&steps.value, Value::List(items) if items.is_empty()));
    if source.is_clean() {
        reading.declared = plan.build(source, &outbound, options);
    }
    reading
}

fn allow_hosts(source: &Source<'_>, fields: &Fields<'_>) -> Vec<AllowedHost> {
    let Some(node) = fields.get("allow_hosts") else { return Vec::new() };
    let mut allowed = Vec::new();
    for item in values::list(source, node, "hosts, addresses or blocks") {
        let Some(text) = values::text(source, item, "a host, an address or a block") else {
            continue;
        };
        match text.parse::<AllowedHost>() {
            Ok(host) => allowed.push(host),
            Err(error) => source.fault(item.mark, Code::Value, error.to_string()),
        }
    }
    allowed
}

fn defaults(source: &Source<'_>, node: &Node) -> Inherited {
    let Some(fields) = Fields::open(source, node, &DEFAULTS) else { return Inherited::default() };
    let retry = |key, base| fields.get(key).map(|node| policy::retry(source, node, base));
    Inherited {
        timeout_ms: policy::ms(source, &fields, "timeout"),
        retry: retry("retry", saga_core::RetryPolicy::ACTION),
        compensation_timeout_ms: policy::ms(source, &fields, "compensation_timeout"),
        compensation_retry: retry("compensation_retry", saga_core::RetryPolicy::PERSISTENT),
        breaker: fields
            .get("breaker")
            .map(|node| policy::breaker(source, node, saga_core::BreakerPolicy::default())),
    }
}

/// Reads the list of steps and groups, and where each of its items stands.
fn stages(
    source: &Source<'_>,
    node: &Node,
    inherited: &Inherited,
    participants: &Participants,
    outbound: &mut Outbound,
) -> (Vec<Vec<StepPlan>>, Vec<Mark>) {
    let items = values::list(source, node, "steps");
    let mut stages = Vec::new();
    for (stage, item) in (0..u16::MAX).zip(items) {
        let mut read = |node: &Node| {
            let step = StepPlan::read(source, node, stage, inherited, participants)?;
            for plan in step.action.iter().chain(&step.compensation) {
                named(source, plan.mark, &plan.target.base, outbound);
            }
            Some(step)
        };
        stages.push(match group(source, item) {
            Some(members) => members.iter().filter_map(read).collect(),
            None => read(item).into_iter().collect(),
        });
    }
    (stages, items.iter().map(|item| item.mark).collect())
}

/// The members of a group; `None` for a step.
fn group<'n>(source: &Source<'_>, node: &'n Node) -> Option<&'n [Node]> {
    let Value::Map(entries) = &node.value else { return None };
    let is_parallel = |key: &Node| matches!(&key.value, Value::Scalar(Scalar::Text(text)) if &**text == "parallel");
    entries.iter().find(|(key, _)| is_parallel(key))?;
    let fields = Fields::open(source, node, &GROUP)?;
    Some(fields.get("parallel").map_or(&[], |node| values::list(source, node, "steps")))
}

impl Plan {
    /// Checks what no single value shows: the rules of the engine, and who reads whose output.
    fn check(&mut self, source: &Source<'_>, is_empty: bool) {
        for (stage, members) in self.stages.iter().enumerate() {
            // A group whose members were all faulty is not empty for the reader.
            if members.is_empty() && source.is_clean() {
                let fault = Fault::EmptyGroup { stage };
                source.fault(self.groups[stage], Code::Saga, fault.to_string());
            }
        }
        for fault in self.spec.faults() {
            if matches!(fault, Fault::NoSteps) && !is_empty {
                continue;
            }
            for mark in self.marks_of(&fault) {
                let help = respelt(&fault);
                source.fault_with(mark, Code::Saga, fault.to_string(), help);
            }
        }
        let mut reads = Reads::default();
        let steps = self.stages.iter_mut().flatten().enumerate();
        for (at, step) in steps {
            for (op, plan) in
                [(Op::Action, &mut step.action), (Op::Compensation, &mut step.compensation)]
            {
                let mut reader = Reader { steps: &self.spec.steps, at, op, reads: &mut reads };
                if let Some(plan) = plan {
                    reader.check(source, plan);
                }
            }
        }
        reads.report(source, &self.spec.steps);
    }

    /// Where a fault of the engine's own check stands in the file.
    fn marks_of(&self, fault: &Fault) -> Vec<Mark> {
        let all = || self.stages.iter().flatten();
        let of = |name: &String, mark: fn(&Marks) -> Mark| -> Vec<Mark> {
            all().filter(|step| step.spec.name == *name).map(|step| mark(&step.marks)).collect()
        };
        match fault {
            Fault::Name { .. } => vec![self.name],
            Fault::Version => vec![self.version],
            Fault::Deadline => vec![self.deadline],
            Fault::NoSteps | Fault::TooManySteps { .. } => vec![self.steps],
            Fault::EmptyGroup { stage } => self.groups.get(*stage).copied().into_iter().collect(),
            Fault::StepName { step, .. } => of(step, |marks| marks.name),
            Fault::DuplicateStep { step, .. } => of(step, |marks| marks.name).split_off(1),
            Fault::Order { step, .. } => of(step, |marks| marks.call),
            Fault::MixedGroup { steps } => {
                steps.first().map(|step| of(step, |marks| marks.step)).unwrap_or_default()
            }
            Fault::Timeout { step, field, .. } if field.starts_with("compensation") => {
                of(step, |marks| marks.compensation_timeout)
            }
            Fault::Timeout { step, .. } => of(step, |marks| marks.timeout),
            Fault::Policy { step, field, .. } => match *field {
                "retry" => of(step, |marks| marks.retry),
                "compensation retry" => of(step, |marks| marks.compensation_retry),
                "policy" => of(step, |marks| marks.breaker),
                _ => of(step, |marks| marks.step),
            },
            Fault::Breaker { steps, .. } => {
                steps.last().map(|step| of(step, |marks| marks.breaker)).unwrap_or_default()
            }
            Fault::UnknownOutput { step, .. }
            | Fault::AmbiguousOutput { step, .. }
            | Fault::CertainOutput { step, .. } => of(step, |marks| marks.step),
        }
    }

    /// What the engine runs. Every fault has been found before; what is left is the system's.
    fn build(
        self,
        source: &Source<'_>,
        outbound: &Outbound,
        options: &Options,
    ) -> Option<Declared> {
        let secrets: BTreeSet<String> = self.stages.iter().flatten().flat_map(secrets).collect();
        let mut builder = Definition::builder(self.spec.name).version(self.spec.version);
        if let Some(deadline) = self.spec.deadline_ms {
            builder = builder.deadline(Duration::from_millis(deadline));
        }
        let client = match outbound.client() {
            Ok(client) => client,
            Err(error) => {
                let message = format!("no HTTP client can be built: {error}");
                source.fault(self.steps, Code::File, message);
                return None;
            }
        };
        for members in self.stages {
            let mut steps = Vec::new();
            for step in members {
                let mark = step.marks.step;
                match step.build(&client, &options.secrets) {
                    Ok(step) => steps.extend(step),
                    Err(error) => source.fault(mark, Code::Url, error.to_string()),
                }
            }
            builder = builder.step(parallel(steps));
        }
        match builder.build() {
            Ok(definition) => Some(Declared {
                file: source.file().to_owned(),
                definition,
                digest: Digest::of(&[source.text().as_bytes()]),
                secrets: secrets.into_iter().collect(),
            }),
            Err(error) => {
                source.fault(self.name, Code::Saga, error.to_string());
                None
            }
        }
    }
}

fn secrets(step: &StepPlan) -> impl Iterator<Item = String> {
    step.action.iter().chain(&step.compensation).flat_map(|plan| plan.secrets()).map(str::to_owned)
}

/// A faulty name in the spelling that names have.
fn respelt(fault: &Fault) -> Option<String> {
    let (Fault::Name { name, .. } | Fault::StepName { step: name, .. }) = fault else {
        return None;
    };
    let mut spelt = String::new();
    for c in name.chars() {
        match c {
            'A'..='Z' if spelt.ends_with(|c: char| c.is_ascii_lowercase()) => {
                spelt.extend(['-', c.to_ascii_lowercase()]);
            }
            'A'..='Z' => spelt.push(c.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' | '-' => spelt.push(c),
            _ if !spelt.is_empty() && !spelt.ends_with('-') => spelt.push('-'),
            _ => {}
        }
    }
    let spelt = spelt.trim_end_matches('-');
    (!spelt.is_empty() && spelt.len() <= 64).then(|| format!("did you mean `{spelt}`?"))
}

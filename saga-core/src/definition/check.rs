//! Everything that can be wrong with a definition, found in one go.

use std::collections::{BTreeMap, HashMap};

use super::spec::{DefinitionSpec, StepKind};
use crate::context::{InputCheck, Read, TypeKey};
use crate::step::Step;

/// Most steps of one definition.
const STEPS_MAX: usize = 200;
/// Longest name of a definition, step or participant, in bytes.
const NAME_LEN_MAX: usize = 64;
/// Longest timeout of one attempt: an hour. Longer waits belong into retries, which are durable.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// An ill-formed definition, with all its faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("saga definition {name:?} has {} fault(s):{}", faults.len(), bullets(faults))]
pub struct DefinitionError {
    /// The definition's name.
    pub name: String,
    /// Every fault found.
    pub faults: Vec<Fault>,
}

fn bullets(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  - {fault}")).collect()
}

/// One thing wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the message of each variant says what it is and its fields name the culprits"
)]
pub enum Fault {
    #[error("the definition's name {name:?} {why}")]
    Name { name: String, why: String },
    #[error("the version is 0: expected 1 or more")]
    Version,
    #[error("the deadline is 0 ms: leave it out for none")]
    Deadline,
    #[error("there are no steps: expected at least one")]
    NoSteps,
    #[error("there are {count} steps: expected at most {STEPS_MAX}")]
    TooManySteps { count: usize },
    #[error("parallel group number {stage} (counted from 0) is empty: expected at least one step")]
    EmptyGroup { stage: usize },
    #[error("step {step:?}: its name {why}")]
    StepName { step: String, why: String },
    #[error("step {step:?} stands {count} times: expected every name once")]
    DuplicateStep { step: String, count: usize },
    #[error(
        "step {step:?} is {kind} and comes after {earlier_kind} {earlier:?}: expected the order compensatable*, pivot?, retriable*"
    )]
    Order { step: String, kind: StepKind, earlier: String, earlier_kind: StepKind },
    #[error(
        "parallel group of {steps:?} mixes kinds or holds a pivot: expected only compensatable or only retriable steps"
    )]
    MixedGroup { steps: Vec<String> },
    #[error("step {step:?}: {field} is {value} ms: expected 1 to {TIMEOUT_MS_MAX}")]
    Timeout { step: String, field: &'static str, value: u64 },
    #[error("step {step:?}: {field} {why}")]
    Policy { step: String, field: &'static str, why: String },
    #[error(
        "participant {participant:?} has different breaker policies in {steps:?}: its breaker is shared, so give all the same"
    )]
    Breaker { participant: String, steps: Vec<String> },
    #[error(
        "the {op} of step {step:?} reads the output {wanted}, which no earlier step gives: expected one of the earlier steps to return it"
    )]
    UnknownOutput { step: String, op: &'static str, wanted: &'static str },
    #[error(
        "the {op} of step {step:?} reads the output {wanted}, which steps {givers:?} all give: let each return a type of its own"
    )]
    AmbiguousOutput { step: String, op: &'static str, wanted: &'static str, givers: Vec<String> },
    #[error(
        "the compensation of step {step:?} reads its own output {wanted} as certain: take Option<Output<_>>, since the action may never have happened"
    )]
    CertainOutput { step: String, wanted: &'static str },
}

impl DefinitionSpec {
    /// Every fault of the definition as data.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(why) = name_fault(&self.name) {
            faults.push(Fault::Name { name: self.name.clone(), why });
        }
        if self.version == 0 {
            faults.push(Fault::Version);
        }
        if self.deadline_ms == Some(0) {
            faults.push(Fault::Deadline);
        }
        match self.steps.len() {
            0 => faults.push(Fault::NoSteps),
            count if count > STEPS_MAX => faults.push(Fault::TooManySteps { count }),
            _ => {}
        }
        self.steps.iter().for_each(|step| step.faults(&mut faults));
        self.duplicates(&mut faults);
        self.order(&mut faults);
        self.groups(&mut faults);
        self.breakers(&mut faults);
        faults
    }

    fn duplicates(&self, faults: &mut Vec<Fault>) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.steps.iter().for_each(|step| *counts.entry(&step.name).or_default() += 1);
        let twice = counts.into_iter().filter(|(_, count)| *count > 1);
        faults.extend(
            twice.map(|(step, count)| Fault::DuplicateStep { step: step.to_owned(), count }),
        );
    }

    fn order(&self, faults: &mut Vec<Fault>) {
        for (earlier, step) in self.steps.iter().zip(self.steps.iter().skip(1)) {
            let legal = match step.kind {
                StepKind::Compensatable | StepKind::Pivot => {
                    earlier.kind == StepKind::Compensatable
                }
                StepKind::Retriable => true,
            };
            // Two pivots side by side in one group are reported as a mixed group.
            if !legal && earlier.stage != step.stage {
                faults.push(Fault::Order {
                    step: step.name.clone(),
                    kind: step.kind,
                    earlier: earlier.name.clone(),
                    earlier_kind: earlier.kind,
                });
            }
        }
    }

    fn groups(&self, faults: &mut Vec<Fault>) {
        for group in self.steps.chunk_by(|a, b| a.stage == b.stage).filter(|group| group.len() > 1)
        {
            let first = group[0].kind;
            if first == StepKind::Pivot || group.iter().any(|step| step.kind != first) {
                let steps = group.iter().map(|step| step.name.clone()).collect();
                faults.push(Fault::MixedGroup { steps });
            }
        }
    }

    fn breakers(&self, faults: &mut Vec<Fault>) {
        let mut by_participant: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for step in &self.steps {
            by_participant.entry(&step.participant).or_default().push(step);
        }
        for (participant, steps) in by_participant {
            if steps.iter().any(|step| step.breaker != steps[0].breaker) {
                faults.push(Fault::Breaker {
                    participant: participant.to_owned(),
                    steps: steps.iter().map(|step| step.name.clone()).collect(),
                });
            }
        }
    }
}

impl super::spec::StepSpec {
    fn faults(&self, faults: &mut Vec<Fault>) {
        let step = || self.name.clone();
        if let Some(why) = name_fault(&self.name) {
            faults.push(Fault::StepName { step: step(), why });
        }
        if self.participant.is_empty() || self.participant.len() > 2 * NAME_LEN_MAX + 1 {
            let why = format!(
                "{:?} is empty or longer than {} bytes",
                self.participant,
                2 * NAME_LEN_MAX + 1
            );
            faults.push(Fault::Policy { step: step(), field: "participant", why });
        }
        for (field, value) in
            [("timeout", self.timeout_ms), ("compensation timeout", self.compensation_timeout_ms)]
        {
            if value == 0 || value > TIMEOUT_MS_MAX {
                faults.push(Fault::Timeout { step: step(), field, value });
            }
        }
        for (field, policy) in
            [("retry", &self.retry), ("compensation retry", &self.compensation_retry)]
        {
            if let Some(why) = policy.fault() {
                faults.push(Fault::Policy { step: step(), field, why: why.to_owned() });
            }
        }
        if let Some(why) = self.breaker.fault() {
            faults.push(Fault::Policy { step: step(), field: "policy", why });
        }
    }
}

/// What is wrong with a name that goes into URLs, metrics and file names.
fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(
            "is empty: expected 1 to 64 lower-case letters, digits and hyphens".to_owned(),
        );
    }
    if name.len() > NAME_LEN_MAX {
        return Some(format!("is {} bytes long: expected at most {NAME_LEN_MAX}", name.len()));
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let odd = name.chars().find(|c| !legal(*c));
    odd.map(|c| format!("holds {c:?}: expected lower-case letters, digits and hyphens"))
}

/// Faults in what the steps read: outputs nobody gives, or several do.
pub(super) fn reads(spec: &DefinitionSpec, steps: &[Step]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let stage = spec.steps[at].stage;
        let mut givers: HashMap<TypeKey, Vec<String>> = HashMap::new();
        for (earlier, other) in
            spec.steps.iter().zip(steps).filter(|(other, _)| other.stage < stage)
        {
            givers.entry(other.gives()).or_default().push(earlier.name.clone());
        }
        let name = &spec.steps[at].name;
        for read in step.action_reads() {
            check_read(name, "action", read, &givers, &mut faults);
        }
        for read in step.compensation_reads() {
            match read {
                Read::Output { wanted, certain: true, .. } if *wanted == step.gives() => {
                    faults.push(Fault::CertainOutput { step: name.clone(), wanted: wanted.name() });
                }
                Read::Output { wanted, certain: false, .. } if *wanted == step.gives() => {}
                _ => check_read(name, "compensation", read, &givers, &mut faults),
            }
        }
    }
    faults
}

/// For each step, the checks of everyone who reads its output: later steps, and its compensation.
pub(super) fn readers(spec: &DefinitionSpec, steps: &[Step]) -> Vec<Vec<InputCheck>> {
    let readers_of = |at: usize| {
        let (gives, stage) = (steps[at].gives(), spec.steps[at].stage);
        let own = steps[at].compensation_reads().iter();
        let later = steps.iter().zip(&spec.steps).filter(move |(_, other)| other.stage > stage);
        let later = later.flat_map(move |(step, _)| {
            // A compensation that reads what its own step gives does not read ours.
            let compensation =
                step.compensation_reads().iter().filter(move |_| step.gives() != gives);
            step.action_reads().iter().chain(compensation)
        });
        let check = move |read: &Read| match read {
            Read::Output { wanted, check, .. } if *wanted == gives => Some(*check),
            Read::Output { .. } | Read::Input { .. } | Read::Nothing => None,
        };
        own.chain(later).filter_map(check).collect()
    };
    (0..steps.len()).map(readers_of).collect()
}

fn check_read(
    step: &str,
    op: &'static str,
    read: &Read,
    givers: &HashMap<TypeKey, Vec<String>>,
    faults: &mut Vec<Fault>,
) {
    let Read::Output { wanted, .. } = read else { return };
    let (step, name) = (step.to_owned(), wanted.name());
    match givers.get(wanted).map(Vec::as_slice) {
        None | Some([]) => faults.push(Fault::UnknownOutput { step, op, wanted: name }),
        Some([_]) => {}
        Some(several) => {
            let givers = several.to_vec();
            faults.push(Fault::AmbiguousOutput { step, op, wanted: name, givers });
        }
    }
}

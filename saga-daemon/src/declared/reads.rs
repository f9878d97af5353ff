//! What expressions read: every name is there, and every output comes from an earlier step.

use std::collections::BTreeSet;

use saga_core::{Op, StepSpec};

use super::expression::Expression;
use super::fault::Code;
use super::nearest::nearest;
use super::request::CallPlan;
use super::source::{Mark, Source};

/// What can be read everywhere.
const NAMES: [&str; 8] =
    ["attempt", "idempotency_key", "input", "op", "outputs", "saga", "saga_id", "step"];

/// What to do about the name of a step that reads as a subtraction.
const DASHES: Option<&str> = Some("write `_` for each `-` in the name of a step");

/// Who reads whose output, by their places in the list of steps.
#[derive(Debug, Default)]
pub(super) struct Reads {
    edges: BTreeSet<(usize, usize)>,
    /// Those that read what does not come earlier, and where.
    ahead: Vec<(usize, usize, Mark)>,
}

/// The call whose expressions are checked.
pub(super) struct Reader<'a> {
    pub(super) steps: &'a [StepSpec],
    /// Which of them makes the call.
    pub(super) at: usize,
    pub(super) op: Op,
    pub(super) reads: &'a mut Reads,
}

impl Reader<'_> {
    /// Checks every expression of a call.
    pub(super) fn check(&mut self, source: &Source<'_>, plan: &mut CallPlan) {
        let mark = plan.mark;
        plan.each_expression(&mut |expression, is_text| {
            self.expression(source, mark, expression, is_text);
        });
    }

    fn expression(
        &mut self,
        source: &Source<'_>,
        mark: Mark,
        expression: &mut Expression,
        is_text: bool,
    ) {
        let place = source.within(mark, expression.text());
        for path in expression.reads() {
            let mut parts = path.split('.');
            match parts.next().unwrap_or_default() {
                "outputs" => self.output(source, place, expression, parts.next()),
                "output" if self.op == Op::Compensation => expression.reads_own = true,
                "output" => {
                    let message = "an action has no output yet: `output` is for compensations";
                    source.fault_with(
                        place,
                        Code::Expression,
                        message,
                        Some("an earlier step's is `outputs.the_step`"),
                    );
                }
                "input" => {}
                name if NAMES.contains(&name) => {
                    if let Some(part) = parts.next() {
                        let message = format!("`{name}` is one value and has no `{part}`");
                        let help = DASHES.filter(|_| expression.text().contains('-'));
                        source.fault_with(place, Code::Expression, message, help);
                    }
                }
                name => {
                    let message = format!(
                        "there is no `{name}` to read: expected one of {}, in a compensation also output",
                        NAMES.join(", ")
                    );
                    let meant =
                        nearest(name, NAMES).map(|meant| format!("did you mean `{meant}`?"));
                    source.fault_with(source.within(place, name), Code::Expression, message, meant);
                }
            }
        }
        if expression.reads_own && is_text && !expression.has_default {
            let message = format!(
                "`{}` reads the output of an action that may never have answered: expected a default, since a text cannot hold nothing",
                expression.text()
            );
            let help = "identify the effect by {{ idempotency_key }} or {{ saga_id }}, or add `| default('none')`";
            source.fault_with(place, Code::Expression, message, Some(help));
        }
    }

    fn output(
        &mut self,
        source: &Source<'_>,
        place: Mark,
        expression: &mut Expression,
        step: Option<&str>,
    ) {
        let Some(name) = step else {
            let message = "`outputs` is read by the name of a step: expected such as outputs.reserve_stock, with `_` for `-`";
            return source.fault(place, Code::Expression, message);
        };
        let place = source.within(place, name);
        let key = |step: &StepSpec| step.name.replace('-', "_");
        let Some(at) = self.steps.iter().position(|step| key(step) == name) else {
            let earlier: Vec<String> = self.earlier().map(key).collect();
            let cut = expression.text().contains(&format!("outputs.{name}-"));
            let message = match earlier.is_empty() {
                true => format!("no step is named `{name}`, and no step comes before this one"),
                false => {
                    format!("no step is named `{name}`: expected one of {}", earlier.join(", "))
                }
            };
            let help = match cut {
                true => DASHES.map(str::to_owned),
                false => nearest(name, earlier.iter().map(String::as_str))
                    .map(|meant| format!("did you mean `{meant}`?")),
            };
            return source.fault_with(place, Code::Expression, message, help);
        };
        if at == self.at && self.op == Op::Compensation {
            expression.reads_own = true;
            return;
        }
        self.reads.edges.insert((self.at, at));
        if self.steps[at].stage >= self.steps[self.at].stage {
            self.reads.ahead.push((self.at, at, place));
        }
    }

    fn earlier(&self) -> impl Iterator<Item = &StepSpec> {
        let stage = self.steps[self.at].stage;
        self.steps.iter().filter(move |step| step.stage < stage)
    }
}

impl Reads {
    /// Reports what is read ahead, and where that runs in a circle.
    pub(super) fn report(&self, source: &Source<'_>, steps: &[StepSpec]) {
        for (reader, read, mark) in &self.ahead {
            let (from, to) = (&steps[*reader], &steps[*read]);
            let when = match () {
                () if reader == read => "is this very step",
                () if from.stage == to.stage => "runs at the same time",
                () => "runs later",
            };
            let message = format!(
                "`{}` reads the output of `{}`, which {when}: expected an earlier step",
                from.name, to.name
            );
            let circle = self.way(*read, *reader).filter(|_| reader != read);
            let help = circle.map(|way| {
                let names: Vec<_> =
                    [*reader].iter().chain(&way).map(|at| &*steps[*at].name).collect();
                format!("they wait for each other, a cycle: {}", names.join(" -> "))
            });
            source.fault_with(*mark, Code::Expression, message, help);
        }
    }

    /// The steps on a way along which `from` waits for `to`, both included.
    fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::from([from]);
        while let Some(way) = ways.pop() {
            let last = *way.last()?;
            if last == to {
                return Some(way);
            }
            for (_, next) in self.edges.range((last, 0)..=(last, usize::MAX)) {
                if seen.insert(*next) {
                    ways.push(way.iter().copied().chain([*next]).collect());
                }
            }
        }
        None
    }
}

/// Checks an expression that all calls to a participant share: it knows no outputs.
pub(super) fn check_shared(source: &Source<'_>, mark: Mark, expression: &Expression) {
    let known = NAMES.into_iter().filter(|name| *name != "outputs");
    for path in expression.reads() {
        let name = path.split('.').next().unwrap_or_default();
        if !known.clone().any(|known| known == name) {
            let names: Vec<_> = known.clone().collect();
            let message = format!(
                "what all calls to a participant share cannot read `{name}`: expected one of {}",
                names.join(", ")
            );
            let meant =
                nearest(name, known.clone()).map(|meant| format!("did you mean `{meant}`?"));
            source.fault_with(
                source.within(mark, expression.text()),
                Code::Expression,
                message,
                meant,
            );
        }
    }
}

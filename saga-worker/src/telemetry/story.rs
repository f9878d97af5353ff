//! What a log tells of attempts and waits, put together row by row.

use std::collections::BTreeMap;

use saga_core::{
    DefinitionSpec, Event, Failure, Op, PlannedCall, Rejection, Status, StepIndex, Timestamp,
    Transient, TransientCause,
};

/// Most milestones kept of one saga; what comes later is in its log alone.
const MILESTONES_MAX: usize = 100;
/// Longest text kept with an attempt or a milestone, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The attempts under way and the milestones so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    open: BTreeMap<PlannedCall, (u32, Timestamp)>,
    /// The last attempt at each action.
    actions: BTreeMap<StepIndex, u32>,
    backward: bool,
    milestones: Vec<Milestone>,
}

/// An attempt that has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) call: PlannedCall,
    pub(crate) attempt: u32,
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
    /// `processed`, `rejected` or `unknown`.
    pub(crate) outcome: &'static str,
    /// What left the outcome unknown.
    pub(crate) cause: Option<&'static str>,
    /// Why it did not succeed, in words.
    pub(crate) said: Option<String>,
    /// Where the saga stood.
    pub(crate) status: Status,
    /// The attempt that it repeats or undoes.
    pub(crate) follows: Option<(PlannedCall, u32)>,
}

/// Something on the way of a saga that is no attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Milestone {
    pub(crate) at: Timestamp,
    pub(crate) name: &'static str,
    pub(crate) step: Option<StepIndex>,
    pub(crate) text: String,
}

impl Story {
    /// Goes on with the events of a row; answers the attempts that ended with it.
    pub(crate) fn hear(
        &mut self,
        spec: &DefinitionSpec,
        at: Timestamp,
        events: &[Event],
    ) -> Vec<Finished> {
        let mut finished = Vec::new();
        for event in events {
            if let Some((name, step)) = milestone(event)
                && self.milestones.len() < MILESTONES_MAX
            {
                let text = cut(event.describe(spec));
                self.milestones.push(Milestone { at, name, step, text });
            }
            finished.extend(self.follow(at, event));
            self.backward |= matches!(event, Event::RecoveryBegan { .. });
        }
        finished
    }

    /// The milestones so far.
    pub(crate) fn milestones(&self) -> &[Milestone] {
        &self.milestones
    }

    fn follow(&mut self, at: Timestamp, event: &Event) -> Vec<Finished> {
        let action = |step: &StepIndex| PlannedCall { step: *step, op: Op::Action };
        let compensation = |step: &StepIndex| PlannedCall { step: *step, op: Op::Compensation };
        let ended = match event {
            Event::StepReceived { step, attempt } => {
                self.actions.insert(*step, *attempt);
                self.open.insert(action(step), (*attempt, at));
                None
            }
            Event::CompensationReceived { step, attempt } => {
                self.open.insert(compensation(step), (*attempt, at));
                None
            }
            Event::CallWithdrawn { step, op, .. } => {
                self.open.remove(&PlannedCall { step: *step, op: *op });
                None
            }
            Event::StepProcessed { step, .. } => self.end(at, action(step), Ok(())),
            Event::StepFailed { step, failure, .. } => {
                self.end(at, action(step), Err(Why::Unknown(failure)))
            }
            Event::StepRejected { step, rejection } => {
                self.end(at, action(step), Err(Why::Rejected(rejection)))
            }
            Event::StepCompensated { step } => self.end(at, compensation(step), Ok(())),
            Event::CompensationFailed { step, failure, .. } => {
                let why = match failure {
                    Failure::Transient(transient) => Why::Unknown(transient),
                    Failure::Rejected(rejection) => Why::Rejected(rejection),
                };
                self.end(at, compensation(step), Err(why))
            }
            Event::SagaEnded { .. } => return self.end_all(at),
            Event::SagaStarted(_)
            | Event::CallHeld { .. }
            | Event::WorkerLost
            | Event::RecoveryBegan { .. }
            | Event::SagaStuck { .. }
            | Event::CommandAccepted(_) => None,
        };
        ended.into_iter().collect()
    }

    /// Nobody waits for the answers of a saga that an operator stopped.
    fn end_all(&mut self, at: Timestamp) -> Vec<Finished> {
        let calls: Vec<_> = self.open.keys().copied().collect();
        let message = "nobody waited for its answer, because the saga ended".to_owned();
        let unwaited =
            Transient { cause: TransientCause::Cancelled, message, retry_after_ms: None };
        let end = |call| self.end(at, call, Err(Why::Unknown(&unwaited)));
        calls.into_iter().filter_map(end).collect()
    }

    fn end(
        &mut self,
        at: Timestamp,
        call: PlannedCall,
        result: Result<(), Why<'_>>,
    ) -> Option<Finished> {
        let (attempt, begun) = self.open.remove(&call)?;
        let (outcome, cause, said) = match result {
            Ok(()) => ("processed", None, None),
            Err(Why::Rejected(rejection)) => ("rejected", None, Some(rejection.reason.clone())),
            Err(Why::Unknown(transient)) => {
                ("unknown", Some(code(transient.cause)), Some(transient.message.clone()))
            }
        };
        let follows = match (call.op, attempt) {
            (Op::Compensation, 0..=1) => {
                let action = PlannedCall { op: Op::Action, ..call };
                self.actions.get(&call.step).map(|attempt| (action, *attempt))
            }
            (Op::Action, 0..=1) => None,
            _ => Some((call, attempt - 1)),
        };
        let status = if self.backward { Status::Compensating } else { Status::Running };
        let said = said.map(cut);
        Some(Finished { call, attempt, begun, ended: at, outcome, cause, said, status, follows })
    }
}

/// Why an attempt did not succeed.
enum Why<'a> {
    Unknown(&'a Transient),
    Rejected(&'a Rejection),
}

/// The name of the milestone that an event is, if it is one, and the step it is about.
fn milestone(event: &Event) -> Option<(&'static str, Option<StepIndex>)> {
    match event {
        Event::StepFailed { step, retry_at: Some(_), .. }
        | Event::CompensationFailed { step, retry_at: Some(_), .. } => {
            Some(("retry_scheduled", Some(*step)))
        }
        Event::CallHeld { step, .. } => Some(("call_held", Some(*step))),
        Event::CallWithdrawn { step, .. } => Some(("call_withdrawn", Some(*step))),
        Event::WorkerLost => Some(("worker_lost", None)),
        Event::RecoveryBegan { .. } => Some(("recovery_began", None)),
        Event::SagaStuck { reason } => Some(("stuck", reason.step())),
        Event::CommandAccepted(_) => Some(("command", None)),
        Event::SagaStarted(_)
        | Event::StepReceived { .. }
        | Event::StepProcessed { .. }
        | Event::StepFailed { retry_at: None, .. }
        | Event::StepRejected { .. }
        | Event::CompensationReceived { .. }
        | Event::StepCompensated { .. }
        | Event::CompensationFailed { retry_at: None, .. }
        | Event::SagaEnded { .. } => None,
    }
}

fn code(cause: TransientCause) -> &'static str {
    match cause {
        TransientCause::Error => "error",
        TransientCause::Timeout => "timeout",
        TransientCause::Panicked => "panicked",
        TransientCause::NotYet => "not_yet",
        TransientCause::Cancelled => "cancelled",
        TransientCause::WorkerLost => "worker_lost",
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use saga_core::{Definition, Payload, RecoveryCause, Step, Verdict};

    use super::*;

    async fn work() -> Result<(), Failure> {
        Ok(())
    }

    const FIRST: StepIndex = StepIndex(0);
    const SECOND: StepIndex = StepIndex(1);

    fn tell(rows: &[(i64, Vec<Event>)]) -> (Vec<Finished>, Story) {
        let steps = [Step::compensatable("reserve", work, work), Step::pivot("pay", work)];
        let definition = Definition::new("order", steps).unwrap();
        let mut story = Story::default();
        let hear = |(at, events): &(i64, Vec<Event>)| {
            story.hear(definition.spec(), Timestamp::from_micros(*at), events)
        };
        let finished = rows.iter().flat_map(hear).collect();
        (finished, story)
    }

    fn received(step: StepIndex, attempt: u32) -> Event {
        Event::StepReceived { step, attempt }
    }

    fn failed(step: StepIndex, cause: TransientCause, retry_at: Option<i64>) -> Event {
        let failure = Transient { cause, message: "why".to_owned(), retry_after_ms: None };
        let retry_at = retry_at.map(Timestamp::from_micros);
        Event::StepFailed { step, failure, retry_at }
    }

    #[test]
    fn an_attempt_that_a_lost_worker_began_is_told_by_the_row_that_misses_it() {
        let lost = failed(FIRST, TransientCause::WorkerLost, Some(9));
        let (finished, story) =
            tell(&[(1, vec![received(FIRST, 1)]), (8, vec![Event::WorkerLost, lost])]);
        let [attempt] = &finished[..] else { panic!("{finished:?}") };
        assert_eq!((attempt.begun.as_micros(), attempt.ended.as_micros()), (1, 8));
        assert_eq!((attempt.outcome, attempt.cause), ("unknown", Some("worker_lost")));
        let names: Vec<_> = story.milestones().iter().map(|milestone| milestone.name).collect();
        assert_eq!(names, ["worker_lost", "retry_scheduled"]);
    }

    #[test]
    fn an_attempt_follows_the_one_that_it_repeats_or_undoes() {
        let output = Payload::null();
        let cause = RecoveryCause::StepRejected { step: SECOND };
        let rejection = Rejection { reason: "no".to_owned(), settled: false, uncalled: false };
        let (finished, _) = tell(&[
            (1, vec![received(FIRST, 1)]),
            (2, vec![failed(FIRST, TransientCause::Timeout, Some(3)), received(FIRST, 2)]),
            (4, vec![Event::StepProcessed { step: FIRST, output }, received(SECOND, 1)]),
            (5, vec![Event::StepRejected { step: SECOND, rejection }]),
            (5, vec![Event::RecoveryBegan { cause }]),
            (6, vec![Event::CompensationReceived { step: FIRST, attempt: 1 }]),
            (7, vec![Event::StepCompensated { step: FIRST }]),
        ]);
        let action = PlannedCall { step: FIRST, op: Op::Action };
        let follows: Vec<_> = finished.iter().map(|attempt| attempt.follows).collect();
        assert_eq!(follows, [None, Some((action, 1)), None, Some((action, 2))]);
        let outcomes: Vec<_> = finished.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, ["unknown", "processed", "rejected", "processed"]);
        let statuses: Vec<_> = finished.iter().map(|attempt| attempt.status).collect();
        assert_eq!(statuses[2..], [Status::Running, Status::Compensating]);
    }

    #[test]
    fn a_call_that_was_not_made_is_no_attempt_and_an_unawaited_one_is() {
        let withdrawn = Event::CallWithdrawn { step: FIRST, op: Op::Action, why: "x".to_owned() };
        let verdict = Verdict::Stopped { remaining: Vec::new() };
        let (finished, _) = tell(&[
            (1, vec![received(FIRST, 1), withdrawn]),
            (2, vec![received(FIRST, 1)]),
            (3, vec![Event::SagaEnded { verdict }]),
        ]);
        let [attempt] = &finished[..] else { panic!("{finished:?}") };
        assert_eq!((attempt.begun.as_micros(), attempt.cause), (2, Some("cancelled")));
    }

    #[test]
    fn neither_texts_nor_milestones_grow_without_bound() {
        let why = "ä".repeat(5_000);
        let held = Event::CallWithdrawn { step: FIRST, op: Op::Action, why };
        let (_, story) = tell(&[(1, vec![held; 500])]);
        assert_eq!(story.milestones().len(), MILESTONES_MAX);
        assert!(story.milestones().iter().all(|milestone| milestone.text.len() <= 260));
    }
}

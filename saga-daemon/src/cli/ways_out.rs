//! The ways out of a saga that needs a person, as commands ready to be copied.

use std::fmt::Write as _;

use saga_core::{Op, StepKind, WaitReason};

use crate::body::SagaBody;

/// A way out: when it is the right one, and the command.
type Way = (String, String);

/// What a person can do about a saga that waits for one; empty for all others. `at` are the flags
/// that name the daemon, if it is not the usual one.
pub(super) fn ways_out(saga: &SagaBody, at: &str) -> String {
    let Some(wait) = &saga.wait else { return String::new() };
    let give = |verb: &str, more: &str| {
        let reason = "--reason 'WHY'";
        format!("saga-worker {verb} {}{more}{at} {reason}", saga.id)
    };
    let (look, ways) = match &wait.reason {
        WaitReason::Stuck { code, step, .. } => stuck(saga, code, step.as_deref(), &give),
        WaitReason::Paused { .. } => {
            (None, vec![("go on".to_owned(), give("resume", "")), stop(&give)])
        }
        WaitReason::BreakerOpen { .. } => {
            let again = format!("saga-worker breakers{at}");
            (None, vec![("goes on by itself when the participant answers again".to_owned(), again)])
        }
        WaitReason::Worker { .. }
        | WaitReason::Definition { .. }
        | WaitReason::NewerRelease { .. } => (
            None,
            vec![(
                "see which workers live and what they know".to_owned(),
                format!("saga-worker workers{at}"),
            )],
        ),
        WaitReason::InFlight { .. } | WaitReason::Retry { .. } => return String::new(),
    };
    let mut text = "\nWays out\n".to_owned();
    if let Some(look) = look {
        let _ = writeln!(text, "  {look}");
    }
    for (when, command) in ways {
        let _ = writeln!(text, "  {when}:\n    {command}");
    }
    let _ = writeln!(text, "  what happened:\n    saga-worker log {}{at}", saga.id);
    text
}

/// What to look at first, and the ways out of a stuck saga.
fn stuck(
    saga: &SagaBody,
    code: &str,
    step: Option<&str>,
    give: &dyn Fn(&str, &str) -> String,
) -> (Option<String>, Vec<Way>) {
    let name = step.unwrap_or("STEP");
    let skip = |assumed: &str| give("skip", &format!(" --step {name} {assumed}"));
    let retry = |when: &str| (when.to_owned(), give("retry", ""));
    let key = |op: Op| {
        format!("first look at the participant, under idempotency key {}:{name}:{op}", saga.id)
    };
    let happened = ("it happened (say what it answered)".to_owned(), skip("--processed '{}'"));
    match code {
        "pivot_unknown" | "pivot_in_doubt" => {
            let never = "it did not happen and will not: compensate the rest".to_owned();
            let ways = vec![
                retry("it is safe to ask again (the participant knows the key)"),
                happened,
                (never, skip("--no-effect")),
                stop(give),
            ];
            (Some(key(Op::Action)), ways)
        }
        "retriable_spent" | "retriable_rejected" => {
            let ways = vec![retry("the participant is mended"), happened, stop(give)];
            (Some(key(Op::Action)), ways)
        }
        "compensation_spent" => {
            let ways = vec![
                retry("the participant is mended"),
                ("it was compensated by hand".to_owned(), skip("--compensated")),
                ("its effect is to remain".to_owned(), skip("--effect-remains")),
                stop(give),
            ];
            (Some(key(Op::Compensation)), ways)
        }
        "log_full" => (None, vec![stop(give)]),
        "log_damaged" => {
            let look = "nothing can be done with it before its log is restored from a backup";
            (Some(look.to_owned()), vec![retry("its log is restored")])
        }
        // Poison, and whatever a newer release may add.
        _ => {
            let mut ways = vec![retry("the workers do not die of it any more")];
            let forward = saga
                .steps
                .iter()
                .all(|step| step.kind == StepKind::Compensatable || step.attempts == 0);
            if forward {
                ways.push(("undo what it did so far".to_owned(), give("compensate", "")));
            }
            ways.push(stop(give));
            (None, ways)
        }
    }
}

fn stop(give: &dyn Fn(&str, &str) -> String) -> Way {
    ("give up; somebody has to see to the effects that remain".to_owned(), give("stop", ""))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use saga_core::{Payload, SagaId, Status, StepState, StuckReason, Timestamp, Wait};

    use super::super::arguments::Arguments;
    use super::*;
    use crate::body::StepBody;

    fn waiting(reason: WaitReason) -> SagaBody {
        let step = |name: &str, kind, attempts| StepBody {
            name: name.to_owned(),
            kind,
            state: StepState::Pending,
            effect: saga_core::Effect::None,
            attempts,
            compensation_attempts: 0,
            started_at: None,
            ended_at: None,
            last_error: None,
            output: None,
        };
        SagaBody {
            id: SagaId::from_bytes([7; 16]),
            name: "order".to_owned(),
            version: 1,
            key: None,
            status: Status::Stuck,
            seq: 9,
            started_at: Timestamp::default(),
            ended_at: None,
            verdict: None,
            wait: Some(Wait::from(reason)),
            steps: vec![
                step("reserve", StepKind::Compensatable, 1),
                step("pay", StepKind::Pivot, 0),
            ],
            input: Payload::null(),
        }
    }

    fn stuck_by(code: &str) -> String {
        let step = Some("pay".to_owned());
        let reason = WaitReason::Stuck { code: code.to_owned(), step, why: String::new() };
        ways_out(&waiting(reason), " --url http://db.example:7878")
    }

    /// The commands in a text, as a shell would hand them over.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("saga-worker "));
        lines.map(|line| line.split(' ').map(|word| word.replace('\'', "")).collect()).collect()
    }

    #[test]
    fn every_stuck_reason_has_ways_out_that_the_command_line_takes() {
        for code in StuckReason::CODES {
            let text = stuck_by(code);
            let commands = commands(&text);
            assert!(commands.len() >= 2, "{code}: {text}");
            for command in commands {
                let read = Arguments::try_parse_from(&command);
                assert!(read.is_ok(), "{code}: {command:?}: {}", read.unwrap_err());
                assert!(command.contains(&"http://db.example:7878".to_owned()), "{command:?}");
            }
        }
    }

    #[test]
    fn a_doubtful_pivot_leads_to_the_participant_first() {
        let text = stuck_by("pivot_unknown");
        let id = SagaId::from_bytes([7; 16]);
        assert!(text.contains(&format!("idempotency key {id}:pay:action")), "{text}");
        for part in ["--processed '{}'", "--no-effect", "retry", "stop", "log"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_poisoned_saga_may_be_compensated_only_before_its_pivot() {
        assert!(stuck_by("poison").contains("saga-worker compensate"));
        let reason = WaitReason::Stuck { code: "poison".into(), step: None, why: String::new() };
        let mut saga = waiting(reason);
        saga.steps[1].attempts = 1;
        assert!(!ways_out(&saga, "").contains("saga-worker compensate"));
    }

    #[test]
    fn other_waits_say_where_to_look_and_a_busy_saga_says_nothing() {
        let now = Timestamp::default();
        let open =
            WaitReason::BreakerOpen { participant: "bank".into(), step: "pay".into(), until: now };
        assert!(ways_out(&waiting(open), "").contains("saga-worker breakers\n"));
        let paused = WaitReason::Paused { by: "ann".into(), why: "x".into() };
        assert!(ways_out(&waiting(paused), "").contains("saga-worker resume"));
        assert!(ways_out(&waiting(WaitReason::Worker { since: now }), "").contains("workers"));
        let step = "pay".to_owned();
        let busy = WaitReason::InFlight { step, op: Op::Action, attempt: 1, since: now };
        assert_eq!(ways_out(&waiting(busy), ""), "");
    }
}

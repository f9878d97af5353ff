//! Which calls a service misbehaves on: settings, and a pure decision that a seed reproduces.

use saga_participant::{CallIdentity, Op};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The misbehaviour of a service; the body of `GET /switches` and `PUT /switches`. A field that is
/// left out has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// How often calls go wrong. Default: `off`.
    pub faults: Faults,
    /// The same seed decides the same for the same call. Default: 1.
    pub seed: u64,
    /// How long a slow answer takes, in milliseconds. Default: 3000.
    pub slow_ms: u64,
    /// After how many milliseconds a late request is delivered. Default: 1500.
    pub late_ms: u64,
    /// What every action call does, whatever `faults` says. Default: nothing.
    pub always: Option<Misbehaviour>,
    /// More that goes wrong, in shares to the thousandth. Default: nothing.
    pub mix: Mix,
}

impl Default for Switches {
    fn default() -> Self {
        Switches {
            faults: Faults::Off,
            seed: 1,
            slow_ms: 3_000,
            late_ms: 1_500,
            always: None,
            mix: Mix::default(),
        }
    }
}

/// Of a thousand calls, how many go wrong in each way, whatever the attempt. The shares of what
/// happens to an attempt add up to 1,000 at most; what is beyond never happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Actions that are rejected, decided once for all attempts.
    pub reject: u32,
    /// Attempts that find nobody: the connection breaks off and nothing is done.
    pub down: u32,
    /// Attempts that are answered 500 and not carried out.
    pub error: u32,
    /// Attempts that are carried out and whose answer is lost with the connection.
    pub drop: u32,
    /// Attempts that are carried out and answered `slow_ms` later.
    pub slow: u32,
}

impl Mix {
    /// What happens to an attempt that drew this number.
    fn pick(self, draw: u64) -> Option<Misbehaviour> {
        let kinds = [
            (self.down, Misbehaviour::Down),
            (self.error, Misbehaviour::ErrorBefore),
            (self.drop, Misbehaviour::Drop),
            (self.slow, Misbehaviour::Slow),
        ];
        let mut left = draw % 1_000;
        for (share, kind) in kinds {
            match left.checked_sub(u64::from(share)) {
                None => return Some(kind),
                Some(rest) => left = rest,
            }
        }
        None
    }
}

/// How often calls go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Faults {
    /// Never.
    Off,
    /// About 5 % of the attempts up to the third; 2 % of the actions are rejected.
    Mild,
    /// About 25 % of the attempts up to the fifth; 6 % of the actions are rejected.
    Wild,
}

impl Faults {
    /// Of a thousand attempts, how many are delivered badly.
    fn bad_deliveries(self) -> u64 {
        match self {
            Faults::Off => 0,
            Faults::Mild => 50,
            Faults::Wild => 250,
        }
    }

    /// Of a thousand actions, how many are rejected.
    fn rejections(self) -> u64 {
        match self {
            Faults::Off => 0,
            Faults::Mild => 20,
            Faults::Wild => 60,
        }
    }

    /// The last attempt that may be delivered badly; a larger retry budget always ends well.
    fn bad_attempt_max(self) -> u32 {
        match self {
            Faults::Off => 0,
            Faults::Mild => 3,
            Faults::Wild => 5,
        }
    }
}

/// One way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehaviour {
    /// Commit, then answer after the caller has lost patience.
    Slow,
    /// Commit, then break the connection off without an answer.
    Drop,
    /// Answer 500 and do nothing.
    ErrorBefore,
    /// Commit, then answer 500.
    ErrorAfter,
    /// Answer 503 or break the connection off at once, but deliver the request later, as a network
    /// would that lost and found it.
    Late,
    /// Reject, although the business would accept. Actions only.
    Reject,
    /// Execute the request twice at the same time.
    Duplicate,
    /// Break the connection off and do nothing, as a service that is not there.
    Down,
}

/// The ways to misbehave on one attempt.
const BAD_DELIVERIES: [Misbehaviour; 6] = [
    Misbehaviour::Slow,
    Misbehaviour::Drop,
    Misbehaviour::ErrorBefore,
    Misbehaviour::ErrorAfter,
    Misbehaviour::Late,
    Misbehaviour::Duplicate,
];

impl Switches {
    /// What to do wrong on attempt `attempt` of a call for `order`, if anything. A rejection is
    /// decided once for all attempts of an action, as a business does.
    #[must_use]
    pub fn decide(
        &self,
        order: &str,
        identity: &CallIdentity,
        attempt: u32,
    ) -> Option<Misbehaviour> {
        let (step, op) = (identity.step.as_str(), identity.op.as_str());
        if identity.op == Op::Action {
            if self.always.is_some() {
                return self.always;
            }
            let rejections = self.faults.rejections() + u64::from(self.mix.reject);
            if rejections > 0 && self.draw(&[order, step, "reject"]) % 1_000 < rejections {
                return Some(Misbehaviour::Reject);
            }
        }
        if self.mix != Mix::default() {
            let draw = self.draw(&[order, step, op, &attempt.to_string(), "mix"]);
            if let Some(kind) = self.mix.pick(draw) {
                return Some(kind);
            }
        }
        if attempt > self.faults.bad_attempt_max() {
            return None;
        }
        let draw = self.draw(&[order, step, op, &attempt.to_string()]);
        let kind = usize::try_from(draw / 1_000 % 6).expect("a remainder of 6 fits");
        (draw % 1_000 < self.faults.bad_deliveries()).then(|| BAD_DELIVERIES[kind])
    }

    /// Whether a late delivery breaks the connection off at once; otherwise it answers 503.
    #[must_use]
    pub fn late_hangs_up(&self, order: &str, identity: &CallIdentity, attempt: u32) -> bool {
        let words = [order, &identity.step, identity.op.as_str(), &attempt.to_string(), "late"];
        self.draw(&words).is_multiple_of(2)
    }

    /// A number that depends on the seed and the words alone, evenly spread.
    fn draw(&self, words: &[&str]) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        for word in words {
            hash.update(word.as_bytes());
            hash.update([0]);
        }
        let digest: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(*digest.first_chunk().expect("32 bytes have a first 8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(op: Op) -> CallIdentity {
        CallIdentity { saga_id: "any".to_owned(), step: "reserve-stock".to_owned(), op }
    }

    fn switches(faults: Faults, seed: u64) -> Switches {
        Switches { faults, seed, ..Switches::default() }
    }

    /// What becomes of the first attempts of 10,000 orders.
    fn decisions(switches: &Switches, op: Op, attempt: u32) -> Vec<Option<Misbehaviour>> {
        (0..10_000)
            .map(|nth| switches.decide(&format!("order-{nth}"), &identity(op), attempt))
            .collect()
    }

    fn count(decisions: &[Option<Misbehaviour>], kind: Misbehaviour) -> usize {
        decisions.iter().filter(|decision| **decision == Some(kind)).count()
    }

    #[test]
    fn each_level_misbehaves_as_often_as_it_says_over_all_kinds() {
        for (faults, deliveries, rejections) in [
            (Faults::Off, 0..1, 0..1),
            (Faults::Mild, 400..600, 150..250),
            (Faults::Wild, 2_200..2_600, 500..700),
        ] {
            let decided = decisions(&switches(faults, 7), Op::Action, 1);
            let rejected = count(&decided, Misbehaviour::Reject);
            assert!(rejections.contains(&rejected), "{faults:?}: {rejected} rejections");
            let bad = decided.iter().flatten().count() - rejected;
            assert!(deliveries.contains(&bad), "{faults:?}: {bad} bad deliveries");
            for kind in BAD_DELIVERIES {
                assert!(faults == Faults::Off || count(&decided, kind) > deliveries.start / 10);
            }
        }
    }

    #[test]
    fn a_compensation_is_never_rejected() {
        let decided = decisions(&switches(Faults::Wild, 7), Op::Compensation, 1);
        assert_eq!(count(&decided, Misbehaviour::Reject), 0);
        let always = Switches { always: Some(Misbehaviour::Reject), ..Switches::default() };
        assert_eq!(count(&decisions(&always, Op::Compensation, 1), Misbehaviour::Reject), 0);
        assert_eq!(count(&decisions(&always, Op::Action, 9), Misbehaviour::Reject), 10_000);
    }

    #[test]
    fn late_attempts_are_delivered_well_and_a_rejection_holds_for_every_attempt() {
        for (faults, bad_attempt_max) in [(Faults::Mild, 3), (Faults::Wild, 5)] {
            let switches = switches(faults, 7);
            let last_bad = decisions(&switches, Op::Compensation, bad_attempt_max);
            assert!(last_bad.iter().any(Option::is_some));
            let good = decisions(&switches, Op::Compensation, bad_attempt_max + 1);
            assert!(good.iter().all(Option::is_none));

            let rejected = |attempt| {
                decisions(&switches, Op::Action, attempt)
                    .iter()
                    .map(|decision| *decision == Some(Misbehaviour::Reject))
                    .collect::<Vec<_>>()
            };
            assert_eq!(rejected(1), rejected(bad_attempt_max + 1));
        }
    }

    #[test]
    fn a_mix_has_the_shares_it_says_on_actions_and_compensations() {
        let mix = Mix { reject: 50, down: 10, error: 20, drop: 30, slow: 40 };
        let switches = Switches { mix, ..switches(Faults::Off, 7) };
        for op in [Op::Action, Op::Compensation] {
            let decided = decisions(&switches, op, 9);
            let rejected = if op == Op::Action { 420..580 } else { 0..1 };
            for (kind, expected) in [
                (Misbehaviour::Reject, rejected),
                (Misbehaviour::Down, 60..140),
                (Misbehaviour::ErrorBefore, 140..260),
                (Misbehaviour::Drop, 220..380),
                (Misbehaviour::Slow, 310..490),
            ] {
                let found = count(&decided, kind);
                assert!(expected.contains(&found), "{op:?} {kind:?}: {found} of 10,000");
            }
        }
    }

    #[test]
    fn a_mix_of_a_thousand_thousandths_leaves_no_call_alone() {
        let mix = Mix { down: 1_000, ..Mix::default() };
        let decided = decisions(&Switches { mix, ..Switches::default() }, Op::Compensation, 3);
        assert_eq!(count(&decided, Misbehaviour::Down), 10_000);
    }

    #[test]
    fn a_seed_decides_always_the_same_and_another_seed_something_else() {
        let one = decisions(&switches(Faults::Wild, 1), Op::Action, 1);
        assert_eq!(one, decisions(&switches(Faults::Wild, 1), Op::Action, 1));
        assert_ne!(one, decisions(&switches(Faults::Wild, 2), Op::Action, 1));
    }
}

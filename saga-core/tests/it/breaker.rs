//! What holds of a breaker whatever its calls and its clock do.

use std::time::Duration;

use proptest::prelude::*;
use saga_core::{
    Admission, Breaker, BreakerPolicy, BreakerState, CallResult, Permit, RetryPolicy, Timestamp,
};

/// What a caller does next.
#[derive(Clone, Debug)]
enum Move {
    Ask,
    Settle { which: usize, result: CallResult },
    Wait { ms: u64 },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let result = prop_oneof![
        5 => Just(CallResult::Failed),
        4 => Just(CallResult::Answered),
        1 => Just(CallResult::Abandoned),
    ];
    let one = prop_oneof![
        6 => Just(Move::Ask),
        5 => (any::<usize>(), result).prop_map(|(which, result)| Move::Settle { which, result }),
        1 => (1_u64..400).prop_map(|ms| Move::Wait { ms }),
    ];
    prop::collection::vec(one, 0..400)
}

fn policies() -> impl Strategy<Value = BreakerPolicy> {
    let sizes = (1_u32..6, 0_u32..8, 0_u32..=100, 1_u32..4, 1_u32..4, 1_u32..4, 1_u32..4);
    sizes.prop_map(|(failures, calls, percent, probes_max, probes_to_close, wave_calls, waves)| {
        BreakerPolicy {
            failures_to_open: failures,
            calls_min: calls,
            failure_percent_min: percent,
            window_ms: 2_000,
            open_ms: 300,
            probes_max,
            probes_to_close,
            wave_calls,
            wave_ms: 100,
            waves,
        }
    })
}

/// Calls under way, with the state in which each was admitted.
type Flying = Vec<(Permit, u32)>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_breaker_admits_no_call_while_open_few_probes_and_bounded_waves(
        policy in policies(),
        moves in moves(),
    ) {
        let mut breaker = Breaker::new(policy.clone());
        let mut now = Timestamp::from_micros(0);
        let mut flying: Flying = Vec::new();
        // Counts the changes of state, so that probes of an earlier half-open time are told apart.
        let (mut era, mut last, mut released) = (0, BreakerState::Closed, (now, 0_u32));
        for one in moves {
            match one {
                Move::Wait { ms } => now = now.after(Duration::from_millis(ms)),
                Move::Settle { which, result } if !flying.is_empty() => {
                    let at = which % flying.len();
                    breaker.settle(now, flying.swap_remove(at).0, result);
                }
                Move::Settle { .. } => {}
                Move::Ask => {
                    let state = breaker.state(now);
                    match breaker.admit(now) {
                        Admission::Go(permit) => {
                            prop_assert_ne!(state, BreakerState::Open, "open lets nothing through");
                            flying.push((permit, era));
                            released.1 += 1;
                        }
                        Admission::Held { until } => {
                            prop_assert_ne!(state, BreakerState::Closed, "closed holds nothing back");
                            prop_assert!(until > now, "asking again at once would be in vain");
                        }
                    }
                }
            }
            let state = breaker.state(now);
            if state != last {
                (era, last, released) = (era + 1, state, (now, 0));
            }
            if state == BreakerState::HalfOpen {
                let probes = flying.iter().filter(|(_, admitted)| *admitted == era).count();
                prop_assert!(probes <= policy.probes_max as usize, "{} probes in flight", probes);
            }
            if state == BreakerState::Releasing {
                let waves = now.since(released.0).as_millis() as u32 / 100 + 1;
                let bound = policy.wave_calls * (2_u32.pow(waves) - 1);
                prop_assert!(released.1 <= bound, "{} calls in {} waves", released.1, waves);
            }
        }
    }

    #[test]
    fn a_participant_that_is_well_again_is_called_again(policy in policies(), moves in moves()) {
        let mut breaker = Breaker::new(policy);
        let mut now = Timestamp::from_micros(0);
        let mut flying = Vec::new();
        for one in moves {
            match one {
                Move::Wait { ms } => now = now.after(Duration::from_millis(ms)),
                Move::Settle { which, result } if !flying.is_empty() => {
                    let at = which % flying.len();
                    breaker.settle(now, flying.swap_remove(at), result);
                }
                Move::Settle { .. } => {}
                Move::Ask => {
                    if let Admission::Go(permit) = breaker.admit(now) {
                        flying.push(permit);
                    }
                }
            }
        }
        flying.into_iter().for_each(|permit| breaker.settle(now, permit, CallResult::Abandoned));
        for _ in 0..100 {
            now = now.after(Duration::from_millis(1_100));
            if let Admission::Go(permit) = breaker.admit(now) {
                breaker.settle(now, permit, CallResult::Answered);
            }
        }
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_retry_delay_is_repeatable_and_bounded(
        attempts_max in 1_u32..50,
        delay_ms in 0_u64..10_000,
        cap_ms in 0_u64..100_000,
        multiplier_percent in 100_u32..1_000,
        attempt in 0_u32..100,
        seed in any::<u64>(),
    ) {
        let policy = RetryPolicy { attempts_max, delay_ms, delay_ms_max: cap_ms, multiplier_percent };
        let delay = policy.delay(attempt, seed);
        prop_assert_eq!(delay, policy.delay(attempt, seed));
        prop_assert!(delay <= Duration::from_millis(cap_ms));
        if attempt <= 1 {
            prop_assert!(delay <= Duration::from_millis(delay_ms));
        }
        prop_assert_eq!(policy.allows_another(attempt), attempt < attempts_max);
    }
}

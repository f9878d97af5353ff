//! The trace that a saga belongs to: ids that every worker comes to by itself.

use std::fmt;
use std::str::FromStr;

use saga_core::{Op, PlannedCall, Saga};

/// Bits of a trace id that count as random.
const RANDOM_BITS: u32 = 56;

/// How large a part of the sagas that bring no trace context is recorded.
///
/// The decision rests on the trace id alone, so all workers with the same ratio come to the same
/// one. A caller's trace context has the decision in it already.
///
/// ```
/// use saga_worker::telemetry::TraceRatio;
///
/// let tenth: TraceRatio = "0.1".parse()?;
/// assert!(tenth < TraceRatio::default());
/// assert!("10".parse::<TraceRatio>().is_err());
/// # Ok::<(), saga_worker::telemetry::TraceRatioError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TraceRatio(f64);

/// A number that is no ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ratio of recorded traces is {0:?}: expected a number from 0 (none) to 1 (all)")]
pub struct TraceRatioError(String);

impl Default for TraceRatio {
    /// All of them.
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for TraceRatio {
    type Err = TraceRatioError;

    fn from_str(text: &str) -> Result<Self, TraceRatioError> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| TraceRatioError(text.to_owned()))
    }
}

impl fmt::Display for TraceRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TraceRatio {
    fn takes(self, trace: u128) -> bool {
        let random = trace & ((1 << RANDOM_BITS) - 1);
        // Exact enough: a ratio has at most 53 significant bits.
        let passed_over = ((1.0 - self.0) * (1u64 << RANDOM_BITS) as f64) as u128;
        random >= passed_over
    }
}

/// The place of a saga in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    /// The caller's span, if it gave one.
    pub(crate) caller: Option<u64>,
    /// The span of the saga.
    pub(crate) root: u64,
    pub(crate) sampled: bool,
}

impl Trace {
    pub(crate) fn of(saga: &Saga, ratio: TraceRatio) -> Self {
        let id = u128::from_be_bytes(saga.id().to_bytes());
        // Never zero: the variant of a UUID is in its highest bits.
        let root = id as u64;
        match saga.started().traceparent.as_deref().and_then(parse) {
            Some((trace, caller, sampled)) => {
                Self { id: trace, caller: Some(caller), root, sampled }
            }
            None => Self { id, caller: None, root, sampled: ratio.takes(id) },
        }
    }

    /// The span of an attempt: another one for each attempt at each half of each step.
    pub(crate) fn attempt(&self, call: PlannedCall, attempt: u32) -> u64 {
        let op = u64::from(call.op == Op::Compensation);
        let place = u64::from(call.step.0) << 33 | op << 32 | u64::from(attempt);
        mix(self.root ^ place).max(1)
    }

    /// The trace context that names a span of this trace.
    pub(crate) fn context(&self, span: u64) -> String {
        format!("00-{:032x}-{span:016x}-{:02x}", self.id, u8::from(self.sampled))
    }
}

/// What is told to participants by a worker that records no spans: the caller's context as it is,
/// or one that joins all calls of the saga.
pub(crate) fn unrecorded(saga: &Saga) -> String {
    let all = Trace::of(saga, TraceRatio::default());
    saga.started().traceparent.clone().unwrap_or_else(|| all.context(all.root))
}

/// Trace, span and whether it is recorded, out of a W3C `traceparent`; zeros mean that there is none.
fn parse(traceparent: &str) -> Option<(u128, u64, bool)> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = u128::from_str_radix(parts.next()?, 16).ok()?;
    let span = u64::from_str_radix(parts.next()?, 16).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    (trace != 0 && span != 0).then_some((trace, span, flags & 1 == 1))
}

/// The finishing steps of SplitMix64: one to one, and no bit of the outcome shows a pattern.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use saga_core::{
        Bucket, Definition, Failure, Payload, SagaId, StartRequest, Step, StepIndex, Timestamp,
    };

    use super::*;

    const FIRST_SPAN: &str = "00-00000000000000000000000000000001-e220a8397b1dcdaf-01";

    async fn work() -> Result<(), Failure> {
        Ok(())
    }

    fn saga(entropy: u128, traceparent: Option<&str>) -> Saga {
        let definition = Definition::new("pay", [Step::pivot("capture", work)]).unwrap();
        let id = SagaId::new(1, entropy, Bucket::of("a", 256));
        let traceparent = traceparent.map(str::to_owned);
        let request = StartRequest { input: Payload::null(), key: None, traceparent, by: None };
        Saga::start(id, definition.spec().clone(), Timestamp::default(), request).0
    }

    fn trace(traceparent: Option<&str>) -> Trace {
        Trace::of(&saga(77, traceparent), "0".parse().unwrap())
    }

    #[test]
    fn a_saga_without_a_caller_has_its_id_as_its_trace() {
        let alone = trace(None);
        let id = saga(77, None).id().to_string().replace('-', "");
        assert_eq!(alone.context(alone.root), format!("00-{id}-{}-00", &id[16..]));
        assert_eq!(alone.caller, None);
        assert_eq!(unrecorded(&saga(77, None)), format!("00-{id}-{}-01", &id[16..]));
    }

    #[test]
    fn a_callers_trace_is_continued_with_its_decision() {
        for (flags, sampled) in [("01", true), ("00", false), ("03", true)] {
            let caller = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let joined = trace(Some(&caller));
            assert_eq!((joined.caller, joined.sampled), (Some(0xb7ad_6b71_6920_3331), sampled));
            assert_eq!(&joined.context(7)[..35], &caller[..35]);
            assert_eq!(joined.root, trace(None).root);
        }
        let nobody = format!("00-{:032}-{:016}-01", 0, 0);
        assert_eq!(trace(Some(&nobody)), trace(None));
    }

    #[test]
    fn every_attempt_has_a_span_of_its_own_that_is_always_the_same() {
        let trace = trace(None);
        let mut spans = BTreeSet::from([trace.root]);
        for step in 0..40 {
            for op in [Op::Action, Op::Compensation] {
                let call = PlannedCall { step: StepIndex(step), op };
                for attempt in 1..200 {
                    assert!(spans.insert(trace.attempt(call, attempt)));
                }
            }
        }
        // Releases must agree: a saga may be taken over by a worker of the next one.
        let first = PlannedCall { step: StepIndex(0), op: Op::Action };
        let fixed = Trace { id: 1, caller: None, root: 1, sampled: true };
        assert_eq!(fixed.context(fixed.attempt(first, 1)), FIRST_SPAN);
    }

    #[test]
    fn a_ratio_takes_that_part_of_the_sagas() {
        let ids: Vec<u128> = (0..20_000u64)
            .map(|n| {
                let entropy = u128::from(mix(n)) << 64 | u128::from(mix(n + 1_000_000));
                u128::from_be_bytes(saga_id(entropy).to_bytes())
            })
            .collect();
        for (ratio, expected) in [("0", 0), ("0.1", 2_000), ("0.5", 10_000), ("1", 20_000)] {
            let ratio: TraceRatio = ratio.parse().unwrap();
            let taken = ids.iter().filter(|id| ratio.takes(**id)).count();
            assert!(taken.abs_diff(expected) <= 300, "{ratio}: {taken}");
            assert!(expected != 0 || taken == 0);
        }
        for wrong in ["1.1", "-0.1", "NaN", "all", ""] {
            assert!(wrong.parse::<TraceRatio>().is_err(), "{wrong}");
        }
    }

    fn saga_id(entropy: u128) -> SagaId {
        SagaId::new(1, entropy, Bucket::of("a", 256))
    }
}

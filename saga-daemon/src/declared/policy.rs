//! Policies: what a file says, over what it inherits.

use saga_core::{BreakerPolicy, RetryPolicy};

use super::fields::Fields;
use super::keys::{BREAKER, Key, Kind, Object, RETRY};
use super::node::Node;
use super::source::Source;
use super::values;

/// Reads a retry policy; what it leaves out is as in `base`.
pub(super) fn retry(source: &Source<'_>, node: &Node, mut base: RetryPolicy) -> RetryPolicy {
    let Some(fields) = Fields::open(source, node, &RETRY) else { return base };
    if let Some(attempts) = count(source, &fields, &RETRY, "attempts") {
        base.attempts_max = attempts;
    }
    if let Some(delay) = ms(source, &fields, "delay") {
        base.delay_ms = delay;
    }
    if let Some(delay_max) = ms(source, &fields, "delay_max") {
        base.delay_ms_max = delay_max;
    }
    if let Some(node) = fields.get("multiplier")
        && let Some(Key { kind: Kind::Factor { min, max }, .. }) = RETRY.key("multiplier")
        && let Some(percent) = values::percent(source, node, *min, *max)
    {
        base.multiplier_percent = percent;
    }
    base
}

/// Reads a breaker policy; what it leaves out is as in `base`.
pub(super) fn breaker(source: &Source<'_>, node: &Node, mut base: BreakerPolicy) -> BreakerPolicy {
    let Some(fields) = Fields::open(source, node, &BREAKER) else { return base };
    for (name, field) in [
        ("failures_to_open", &mut base.failures_to_open),
        ("calls_min", &mut base.calls_min),
        ("failure_percent_min", &mut base.failure_percent_min),
        ("probes_max", &mut base.probes_max),
        ("probes_to_close", &mut base.probes_to_close),
        ("wave_calls", &mut base.wave_calls),
        ("waves", &mut base.waves),
    ] {
        if let Some(value) = count(source, &fields, &BREAKER, name) {
            *field = value;
        }
    }
    for (name, field) in
        [("window", &mut base.window_ms), ("open", &mut base.open_ms), ("wave", &mut base.wave_ms)]
    {
        if let Some(value) = ms(source, &fields, name) {
            *field = value;
        }
    }
    base
}

/// A whole number within the bounds that the table of keys gives it.
pub(super) fn count(
    source: &Source<'_>,
    fields: &Fields<'_>,
    object: &'static Object,
    name: &str,
) -> Option<u32> {
    let node = fields.get(name)?;
    match object.key(name)?.kind {
        Kind::Count { min, max } => values::count(source, node, min, max),
        _ => None,
    }
}

/// A time in milliseconds.
pub(super) fn ms(source: &Source<'_>, fields: &Fields<'_>, name: &str) -> Option<u64> {
    let duration = values::duration(source, fields.get(name)?)?;
    u64::try_from(duration.as_millis()).ok()
}

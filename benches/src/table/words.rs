//! What is said around the table.

use super::row::{BASELINE_P99_MS, BASELINE_PER_S, baseline_met, healthy_p99};
use super::{CALIBRATION_S, Offer, Options, Plan, SHARE, WARM_UP_S};
use crate::report::Report;

/// How long it will take.
pub(super) fn estimate(options: &Options) -> String {
    let calibration = if options.exact { 0.0 } else { CALIBRATION_S + 10.0 };
    let runs = 2.0 * (WARM_UP_S + options.seconds.as_secs_f64() + 10.0);
    let drains = 2.0 * options.drain.as_secs_f64();
    format!(
        "This takes about {:.0} s, and up to {drains:.0} s more where orders wait for their verdicts.",
        calibration + runs
    )
}

/// How much is offered, and why.
pub(super) fn offered(options: &Options, offer: Offer) -> String {
    let (wanted, Offer { per_s, capacity_per_s }) = (options.rate, offer);
    match capacity_per_s {
        None => {
            format!("Offered are {per_s} orders/s, as asked for, whether or not this machine can.")
        }
        Some(can) if per_s < wanted => format!(
            "This machine can do about {can:.0} orders/s with everything on it, so {per_s} were offered \
             ({:.0} % of that) instead of {wanted}.",
            SHARE * 100.0
        ),
        Some(can) => {
            format!("Offered are {per_s} orders/s; this machine can do at least {can:.0}.")
        }
    }
}

/// Ours beside the baseline.
pub(super) fn baseline(report: &Report) -> String {
    let met = baseline_met(report).map(|met| if met { "met" } else { "not met on this machine" });
    let p99 = crate::figures::cell(healthy_p99(report), 0);
    format!(
        "Baseline of at least {BASELINE_PER_S} orders/s: {:.0}, {}. Baseline of p99 at most \
         {BASELINE_P99_MS} ms while all is well: {p99} ms, {}. Both of b.",
        report.verdicts_per_s, met[0], met[1]
    )
}

/// What is not the same as in the source design.
pub(super) fn differs(options: &Options, report: &Report) -> String {
    let cores = report.machine.cores;
    let seconds = options.seconds.as_secs_f64();
    let Plan { from_s, until_s, attempts_persistent } = Plan::new(seconds);
    format!(
        "What differs: theirs is told for 5,000 orders/s on machines that are not described; ours runs \
         the load, the daemon, five services and all databases on {cores} cores. Ours is an open loop: \
         where the machine cannot keep up, the waiting is part of p99. Their mix of failures is \
         unknown. Ours is `{}` for {}, from {from_s} s to {until_s} s of {} s, slow by 1.5 s with a \
         timeout of 1 s; by default 55 % of its calls fail, so that three attempts fail for one order \
         in six, and of all orders about as many as theirs tells for a (2.8 %). The breaker of b is as \
         theirs: 15 failures of at least 20 calls in 60 s, of whatever share. While it is open, orders \
         wait instead of failing, and that is in p99. In a, delays are drawn between 0 and 200 ms. \
         Compensations have {attempts_persistent} attempts in both, which last longer than the trouble. \
         Failed are all orders that were not completed, for whatever reason.",
        options.trouble,
        options.participant,
        seconds + WARM_UP_S,
    )
}

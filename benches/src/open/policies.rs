//! How patient the sagas of a run are with their participants.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use saga_core::{BreakerPolicy, Definition, RetryPolicy, Step, StepKind};
use serde::{Deserialize, Serialize};

use super::order::{OrderStep, PLACE_ORDER, STEPS};
use super::schedule::duration;

/// How the delays between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backoff {
    /// Twice as long each time, with full jitter, up to 5 s
    Exponential,
    /// Between nothing and the same bound each time (full jitter, as the engine always has it)
    Fixed,
}

/// Whether participants in trouble are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breaker {
    /// 15 failures, if they are `--breaker-share` of at least 20 calls in 60 s, open it for
    /// `--breaker-open`
    On,
    /// It never opens
    Off,
}

/// The policies of every step.
#[derive(Clone, Copy, Debug, PartialEq, Args, Serialize, Deserialize)]
pub(crate) struct Policies {
    /// How long a participant may take to answer
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,

    /// Attempts of a compensatable action, the first included
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "N")]
    pub(crate) attempts: u32,

    /// Attempts of all else: compensations, pivots, retriable steps; after that a saga is stuck
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub(crate) attempts_persistent: u32,

    /// Bound of the first delay between two attempts
    #[arg(long, default_value = "200ms", value_parser = duration, value_name = "DURATION")]
    pub(crate) delay: Duration,

    /// How the delays grow
    #[arg(long, value_enum, default_value = "exponential")]
    pub(crate) backoff: Backoff,

    /// Whether participants in trouble are left alone
    #[arg(long, value_enum, default_value = "on")]
    pub(crate) breaker: Breaker,

    /// How long an open breaker waits before it probes
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub(crate) breaker_open: Duration,

    /// Least share of failures among the calls of the last 60 s that opens it, in percent
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100), value_name = "PERCENT")]
    pub(crate) breaker_share: u32,
}

/// Longest delay between two attempts.
const DELAY_MAX: Duration = Duration::from_secs(5);

impl Policies {
    fn retry(&self, attempts: u32) -> RetryPolicy {
        let policy = RetryPolicy::new(attempts, self.delay).capped(DELAY_MAX.max(self.delay));
        match self.backoff {
            Backoff::Exponential => policy,
            Backoff::Fixed => RetryPolicy { multiplier_percent: 100, ..policy },
        }
    }

    fn breaker(&self) -> BreakerPolicy {
        let policy = BreakerPolicy {
            open_ms: u64::try_from(self.breaker_open.as_millis()).unwrap_or(u64::MAX),
            failure_percent_min: self.breaker_share,
            ..BreakerPolicy::default()
        };
        match self.breaker {
            Breaker::On => policy,
            Breaker::Off => BreakerPolicy { failures_to_open: u32::MAX, ..policy },
        }
    }

    fn retry_of(&self, step: &OrderStep) -> RetryPolicy {
        match step.kind {
            StepKind::Compensatable => self.retry(self.attempts),
            StepKind::Pivot | StepKind::Retriable => self.retry(self.attempts_persistent),
        }
    }

    /// The definition with steps of any kind.
    pub(crate) fn definition(
        &self,
        step: impl Fn(&OrderStep) -> Step,
    ) -> anyhow::Result<Definition> {
        let steps = STEPS.iter().map(|order| {
            step(order)
                .participant(order.participant)
                .timeout(self.timeout)
                .compensation_timeout(self.timeout)
                .retry(self.retry_of(order))
                .compensation_retry(self.retry(self.attempts_persistent))
                .breaker(self.breaker())
        });
        Ok(Definition::new(PLACE_ORDER, steps)?)
    }

    /// The definition for a daemon, with the URL of each participant.
    pub(crate) fn yaml(&self, url: impl Fn(&str) -> String) -> String {
        let breaker = self.breaker();
        let (timeout, open) = (self.timeout.as_millis(), breaker.open_ms);
        let mut yaml = format!(
            "name: {PLACE_ORDER}\nversion: 1\nallow_hosts: [127.0.0.1]\ndefaults:\n  timeout: {timeout}ms\n  \
             compensation_timeout: {timeout}ms\n  compensation_retry: {}\n  breaker: {{ failures_to_open: {}, \
             failure_percent_min: {}, open: {open}ms }}\nparticipants:\n",
            retry(self.retry(self.attempts_persistent)),
            breaker.failures_to_open,
            breaker.failure_percent_min,
        );
        for OrderStep { participant, .. } in STEPS {
            let _ = writeln!(yaml, "  {participant}: {}", url(participant));
        }
        yaml.push_str("steps:\n");
        for step in &STEPS {
            let OrderStep { name, participant, action, compensation, .. } = step;
            let _ = writeln!(yaml, "  - name: {name}\n    participant: {participant}");
            let _ = match step.kind {
                StepKind::Compensatable => {
                    writeln!(yaml, "    action: {action}\n    compensation: {compensation}")
                }
                StepKind::Pivot => writeln!(yaml, "    pivot: {action}"),
                StepKind::Retriable => writeln!(yaml, "    retriable: {action}"),
            };
            let _ = writeln!(yaml, "    retry: {}", retry(self.retry_of(step)));
        }
        yaml
    }
}

fn retry(policy: RetryPolicy) -> String {
    let RetryPolicy { attempts_max, delay_ms, delay_ms_max, multiplier_percent, .. } = policy;
    let multiplier = f64::from(multiplier_percent) / 100.0;
    format!(
        "{{ attempts: {attempts_max}, delay: {delay_ms}ms, delay_max: {delay_ms_max}ms, multiplier: {multiplier} }}"
    )
}

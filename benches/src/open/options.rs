//! What can be asked of a run of the open loop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use saga_examples::switches::Mix;

use super::order::{PLACE_ORDER, REJECTING, participants};
use super::policies::Policies;
use super::schedule::{Ramp, Schedule, Spacing, duration, rate};
use super::store_fits;
use super::target::Kind;
use super::trouble::{Trouble, Troubles, mix};
use super::turns::Freeze;
use crate::load::StoreKind;

/// Figures of the open loop.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// What is put under load
    #[arg(long, value_enum, default_value = "engine")]
    pub(crate) target: Kind,

    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    pub(crate) store: StoreKind,

    /// Workers of the target `engine`
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,

    /// Sagas that arrive per second, warm-up included
    #[arg(long, default_value = "500", value_parser = rate, conflicts_with = "ramp")]
    pub(crate) rate: f64,

    /// A rate that climbs or falls in a straight line, such as 100:2000:60s
    #[arg(long, value_name = "FROM:TO:DURATION")]
    pub(crate) ramp: Option<Ramp>,

    /// How arrivals are spaced
    #[arg(long, value_enum, default_value = "even")]
    pub(crate) spacing: Spacing,

    /// Length of the run after its warm-up
    #[arg(long, default_value = "20s", value_parser = duration, value_name = "DURATION", conflicts_with = "ramp")]
    pub(crate) seconds: Duration,

    /// What arrives in the beginning, for so long, counts for nothing
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub(crate) warm_up: Duration,

    /// How long after the last arrival verdicts are waited for
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub(crate) drain: Duration,

    /// Most sagas under way at once; beyond, arrivals wait, and are charged for it
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=20_000), value_name = "N")]
    pub(crate) in_flight_max: u32,

    /// Decides which calls go wrong and, with `--spacing random`, when sagas arrive
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// What goes wrong all the time, such as rejected=5%,slow=2%,dropped=1%,error=1%: the share of
    /// orders that the payments reject, and of all calls those answered late, carried out without
    /// an answer, or answered with an error
    #[arg(long, default_value = "", value_parser = mix, value_name = "MIX")]
    pub(crate) mix: Mix,

    /// How late a slow answer of the mix comes
    #[arg(long, default_value = "500ms", value_parser = duration, value_name = "DURATION")]
    pub(crate) slow_by: Duration,

    /// A participant that is not there for a while, counted from the first arrival; may be repeated
    #[arg(long, value_parser = Trouble::outage, value_name = "PARTICIPANT:FROM-TO")]
    pub(crate) outage: Vec<Trouble>,

    /// A participant whose answers come late for a while; may be repeated
    #[arg(long, value_parser = Trouble::slow, value_name = "PARTICIPANT:LATENCY:FROM-TO")]
    pub(crate) slow: Vec<Trouble>,

    /// A participant with a mix of its own for a while; may be repeated
    #[arg(long, value_name = "PARTICIPANT:MIX:FROM-TO")]
    pub(crate) trouble: Vec<Trouble>,

    /// Stop the daemon with SIGSTOP at a moment and let it go on after a while, such as 10s:2s
    #[arg(long, value_name = "AT:FOR")]
    pub(crate) freeze: Option<Freeze>,

    #[command(flatten)]
    pub(crate) policies: Policies,

    /// A daemon that runs already, for `--target daemon`
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// The key for that daemon
    #[arg(long, env = "SAGA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// The definition to start there
    #[arg(long, requires = "url")]
    pub(crate) definition: Option<String>,

    /// The input to start it with, as JSON; {n} becomes the number of the saga
    #[arg(long, requires = "url", value_name = "JSON")]
    pub(crate) input: Option<String>,

    /// Write the report to PATH.json and PATH.html
    #[arg(long, value_name = "PATH")]
    pub(crate) report: Option<PathBuf>,

    /// The report as one line of JSON, at the end
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// What fits no run.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            store_fits(self.target, self.store),
            "a daemon keeps no sagas in memory: use --store sqlite or --store postgres"
        );
        ensure!(self.url.is_none() || self.target == Kind::Daemon, "--url is for --target daemon");
        ensure!(
            self.freeze.is_none() || (self.target != Kind::Engine && self.url.is_none()),
            "--freeze is for a daemon that this run starts: --target daemon or orders, no --url"
        );
        let length = self.ramp().over;
        ensure!(
            length > self.warm_up,
            "the warm-up of {} s leaves nothing of a run of {} s",
            self.warm_up.as_secs_f64(),
            length.as_secs_f64()
        );
        let freezes = self.freeze.is_none_or(|freeze| {
            !freeze.lasts.is_zero() && freeze.at + freeze.lasts <= self.ramp().over
        });
        ensure!(
            freezes,
            "--freeze AT:FOR has to end before the last arrival, at {} s, and to last for longer than nothing",
            length.as_secs_f64()
        );
        self.arrives()?;
        self.troubles()?.check(&participants(), REJECTING)
    }

    /// At least one saga has to arrive, and one after the warm-up.
    fn arrives(&self) -> anyhow::Result<()> {
        let schedule = self.schedule()?;
        ensure!(
            schedule.arrivals() > schedule.arrived_by(self.warm_up),
            "no saga arrives after the warm-up: raise --rate, --ramp or --seconds"
        );
        Ok(())
    }

    /// When sagas arrive.
    pub(crate) fn schedule(&self) -> anyhow::Result<Schedule> {
        Schedule::new(self.ramp(), self.spacing, self.seed)
    }

    /// What a run can do and its reader may not mean.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let (warm_up, length) = (self.warm_up.as_secs_f64(), self.ramp().over.as_secs_f64());
        let windows = self.outage.iter().chain(&self.slow).chain(&self.trouble);
        let warning = |window: &Trouble| {
            let (words, until) = (window.words(), window.until_s);
            match until {
                until if until > length => Some(format!(
                    "`{words}` lasts until {until} s, beyond the last arrival at {length} s"
                )),
                until if until <= warm_up => Some(format!(
                    "`{words}` is over at {until} s, within the warm-up, which counts for nothing"
                )),
                _ => None,
            }
        };
        windows.filter_map(warning).collect()
    }

    /// The rate over the whole run, warm-up included.
    pub(crate) fn ramp(&self) -> Ramp {
        let over = self.warm_up + self.seconds;
        self.ramp.unwrap_or(Ramp { from: self.rate, to: self.rate, over })
    }

    pub(crate) fn troubles(&self) -> anyhow::Result<Troubles> {
        // Their mix says what share is slow; how slow is said once for all mixes.
        let slow_ms = u64::try_from(self.slow_by.as_millis()).unwrap_or(u64::MAX);
        let mixed = self.trouble.iter().map(|trouble| Trouble { slow_ms, ..trouble.clone() });
        let plain = self.outage.iter().chain(&self.slow).cloned();
        let windows: Vec<_> = plain.chain(mixed).collect();
        let length = self.ramp().over.as_secs_f64();
        for window in &windows {
            ensure!(
                window.from_s < length,
                "`{}` would begin after the last arrival, at {length} s",
                window.words()
            );
        }
        Ok(Troubles { mix: self.mix, slow: self.slow_by, seed: self.seed, windows })
    }

    /// The settings that a report tells.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let Ramp { from, to, over } = self.ramp();
        let Policies { timeout, attempts, attempts_persistent, delay, backoff, .. } = self.policies;
        let Policies { breaker, breaker_open, breaker_share, .. } = self.policies;
        let mix = self.mix;
        let percent = |thousandths: u32| f64::from(thousandths) / 10.0;
        let pairs = [
            ("target", format!("{:?}", self.target).to_lowercase()),
            ("store", self.store.name().to_owned()),
            ("workers", self.workers.to_string()),
            ("rate", format!("{from} to {to} sagas/s over {over:?}, {:?}", self.spacing)),
            ("in flight at most", self.in_flight_max.to_string()),
            ("seed", self.seed.to_string()),
            (
                "mix",
                format!(
                    "{} % of orders rejected; of calls {} % slow by {:?}, {} % without an answer, \
                     {} % errors, {} % not there",
                    percent(mix.reject),
                    percent(mix.slow),
                    self.slow_by,
                    percent(mix.drop),
                    percent(mix.error),
                    percent(mix.down)
                ),
            ),
            (
                "policies",
                format!(
                    "timeout {timeout:?}, {attempts} attempts, {attempts_persistent} of what has to \
                     succeed, delay {delay:?} {backoff:?}, breaker {breaker:?} (open \
                     {breaker_open:?}, from {breaker_share} % failures)"
                ),
            ),
            ("warm-up", format!("{:?}", self.warm_up)),
            ("drain", format!("{:?}", self.drain)),
            ("outage", windows(&self.outage)),
            ("slow", windows(&self.slow)),
            ("trouble", format!("{}, slow by {:?}", windows(&self.trouble), self.slow_by)),
            ("definition", self.definition.clone().unwrap_or_else(|| PLACE_ORDER.to_owned())),
            ("input", self.input.clone().unwrap_or_else(|| "the orders of the bench".to_owned())),
            ("freeze", self.freeze.map_or_else(|| "none".to_owned(), |freeze| freeze.to_string())),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

fn windows(of: &[Trouble]) -> String {
    let told = of.iter().map(|window| {
        format!("{} from {} s to {} s", window.words(), window.from_s, window.until_s)
    });
    match of {
        [] => "none".to_owned(),
        _ => told.collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Line::try_parse_from(std::iter::once("load").chain(line.split(' '))).unwrap().options
    }

    #[test]
    fn slow_answers_of_a_trouble_are_as_slow_as_those_of_the_mix() {
        let line = "--slow-by 1500ms --trouble points:slow=50%:1s-2s --slow payments:800ms:1s-2s";
        let troubles = options(line).troubles().unwrap();
        let slow_ms = |name| troubles.switches(name, "payments", 1.5).slow_ms;
        assert_eq!((slow_ms("points"), slow_ms("payments")), (1_500, 800));
    }

    #[test]
    fn runs_that_differ_in_what_goes_wrong_or_what_counts_tell_different_settings() {
        let plain = options("--rate 10").told();
        for (line, name) in [
            ("--rate 10 --outage points:3s-4s", "outage"),
            ("--rate 10 --slow points:1s:3s-4s", "slow"),
            ("--rate 10 --trouble points:error=5%:3s-4s", "trouble"),
            ("--rate 10 --warm-up 1s", "warm-up"),
            ("--rate 10 --drain 1s", "drain"),
        ] {
            let other = options(line).told();
            let differ = plain.iter().zip(&other).filter(|(a, b)| a != b);
            let names: Vec<_> = differ.map(|(a, _)| a.0.as_str()).collect();
            assert!(names.contains(&name), "{line}: {names:?}");
        }
    }

    #[test]
    fn a_window_beyond_the_run_or_within_the_warm_up_is_warned_of() {
        let warned = |line| options(line).warnings().join("; ");
        assert_eq!(warned("--outage points:3s-22s"), "");
        assert!(warned("--outage points:20s-30s").contains("beyond the last arrival at 22 s"));
        assert!(warned("--slow points:1s:0s-1s").contains("within the warm-up"));
    }

    #[test]
    fn what_fits_no_run_is_refused_before_anything_is_started() {
        for (line, word) in [
            ("--target daemon --store memory", "--store sqlite"),
            ("--target engine --freeze 1s:1s", "--target daemon"),
            ("--warm-up 5s --ramp 1:2:5s", "leaves nothing"),
            ("--outage point:1s-2s", "there is no participant `point`"),
            ("--outage points:30s-40s", "after the last arrival"),
            ("--target daemon --freeze 21s:2s", "before the last arrival, at 22 s"),
            ("--target daemon --freeze 2s:0s", "longer than nothing"),
            ("--rate 0", "no saga arrives after the warm-up"),
            ("--rate 0.1 --seconds 3s", "no saga arrives after the warm-up"),
            ("--trouble points:rejected=5%:3s-4s", "only payments rejects"),
        ] {
            let error = options(line).check().unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}

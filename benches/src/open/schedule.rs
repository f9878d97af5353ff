//! When sagas arrive: decided before the run begins, so that a system that stalls cannot slow the
//! arrivals down and thereby hide that it stalled.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Most arrivals of one run; their times are kept in memory.
const ARRIVALS_MAX: f64 = 20_000_000.0;

/// How arrivals are spaced at a given rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spacing {
    /// Evenly
    Even,
    /// At random, independent of each other, as customers come (a Poisson process of the seed)
    Random,
}

/// A rate that climbs or falls in a straight line, `FROM:TO:DURATION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) over: Duration,
}

impl FromStr for Ramp {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected =
            || format!("`{text}` is no ramp; expected FROM:TO:DURATION, such as 100:2000:60s");
        let [from, to, over] = text.split(':').collect::<Vec<_>>()[..] else { bail!(expected()) };
        let (from, to) = (rate(from).with_context(expected)?, rate(to).with_context(expected)?);
        let over = duration(over).with_context(expected)?;
        ensure!(from + to > 0.0 && !over.is_zero(), expected());
        Ok(Self { from, to, over })
    }
}

/// A rate in sagas per second.
pub(crate) fn rate(text: &str) -> anyhow::Result<f64> {
    let rate: f64 = text.parse().with_context(|| format!("`{text}` is no number of sagas/s"))?;
    ensure!(
        (0.0..=1_000_000.0).contains(&rate),
        "a rate of `{text}` is out of bounds; expected 0 to 1000000 sagas/s"
    );
    Ok(rate)
}

/// A duration as in `800ms`, `20s`, `2m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => bail!("`{text}` is no duration; expected for instance 800ms, 20s or 2m"),
    };
    let number: f64 = number
        .parse()
        .with_context(|| format!("`{text}` is no duration; expected for instance 800ms or 20s"))?;
    ensure!(number * seconds_each <= 86_400.0, "`{text}` is longer than a day");
    Ok(Duration::from_secs_f64(number * seconds_each))
}

/// The moments at which sagas arrive, counted from the beginning of the run.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    micros: Vec<u64>,
    length: Duration,
}

impl Schedule {
    /// Arrivals at the rate of the ramp.
    pub(crate) fn new(ramp: Ramp, spacing: Spacing, seed: u64) -> anyhow::Result<Self> {
        let Ramp { from, to, over } = ramp;
        let seconds = over.as_secs_f64();
        let expected = (from + to) / 2.0 * seconds;
        ensure!(
            expected <= ARRIVALS_MAX,
            "{expected:.0} arrivals are too many for one run; at most {ARRIVALS_MAX:.0} are possible"
        );
        let mut random = SplitMix(seed);
        let mut micros = Vec::with_capacity(expected as usize + 1);
        // The area under the rate at which the next one arrives.
        let mut area = 0.0;
        loop {
            area += match spacing {
                Spacing::Even => 1.0,
                Spacing::Random => -(1.0 - random.fraction()).ln(),
            };
            let at = moment(ramp, area);
            if !at.is_some_and(|at| at < seconds) {
                return Ok(Self { micros, length: over });
            }
            micros.extend(at.map(|at| (at * 1e6) as u64));
        }
    }

    pub(crate) fn arrivals(&self) -> u64 {
        self.micros.len() as u64
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// How many have arrived by then.
    pub(crate) fn arrived_by(&self, at: Duration) -> u64 {
        let micros = at.as_micros();
        self.micros.partition_point(|due| u128::from(*due) <= micros) as u64
    }

    /// When number `arrival`, counted from 0, arrives.
    pub(crate) fn at(&self, arrival: u64) -> Option<Duration> {
        self.micros.get(usize::try_from(arrival).ok()?).copied().map(Duration::from_micros)
    }
}

/// When the area under the rate reaches `area`, in seconds. Solves `from t + slope/2 t^2 = area`.
fn moment(Ramp { from, to, over }: Ramp, area: f64) -> Option<f64> {
    let slope = (to - from) / over.as_secs_f64();
    if slope.abs() < 1e-9 {
        return Some(area / from);
    }
    let root = from * from + 2.0 * slope * area;
    // A rate that falls to zero never reaches what is beyond.
    (root >= 0.0).then(|| (root.sqrt() - from) / slope)
}

/// SplitMix64: a few lines, and the same numbers on every machine.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(ramp: &str, spacing: Spacing) -> Schedule {
        Schedule::new(ramp.parse().unwrap(), spacing, 7).unwrap()
    }

    #[test]
    fn even_arrivals_at_a_steady_rate_are_equally_far_apart() {
        let schedule = schedule("100:100:2s", Spacing::Even);
        assert_eq!(schedule.arrivals(), 199);
        assert_eq!(schedule.at(0), Some(Duration::from_millis(10)));
        assert_eq!(schedule.at(198), Some(Duration::from_millis(1_990)));
        assert_eq!(schedule.at(199), None);
    }

    #[test]
    fn a_ramp_has_the_arrivals_of_its_mean_rate_and_most_of_them_late() {
        for (ramp, second_half) in [("0:200:10s", 740..760), ("200:0:10s", 240..260)] {
            let schedule = schedule(ramp, Spacing::Even);
            assert!((998..=1_000).contains(&schedule.arrivals()), "{}", schedule.arrivals());
            let late = (0..schedule.arrivals()).filter(|n| schedule.at(*n).unwrap().as_secs() >= 5);
            assert!(second_half.contains(&late.count()), "{ramp}");
        }
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_follow_from_the_seed() {
        let schedule = schedule("500:500:20s", Spacing::Random);
        assert!((9_600..10_400).contains(&schedule.arrivals()), "{}", schedule.arrivals());
        let again = Schedule::new("500:500:20s".parse().unwrap(), Spacing::Random, 7).unwrap();
        assert_eq!(schedule.micros, again.micros);
        let other = Schedule::new("500:500:20s".parse().unwrap(), Spacing::Random, 8).unwrap();
        assert_ne!(schedule.micros, other.micros);
    }

    #[test]
    fn what_is_no_ramp_says_what_is_expected() {
        for text in ["", "100:200", "1:2:3:4", "a:2:3s", "1:-2:3s", "1:2:3h", "0:0:5s", "1:1:0s"] {
            let error = text.parse::<Ramp>().unwrap_err().to_string();
            assert!(error.contains("FROM:TO:DURATION"), "{text}: {error}");
        }
    }
}

//! What goes wrong, where and when.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use saga_examples::switches::{Mix, Switches};
use serde::{Deserialize, Serialize};

use super::schedule::duration;

/// How long a slow answer takes where nobody says it.
const SLOW: Duration = Duration::from_millis(500);

/// Reads a mix such as `rejected=5%,slow=2%,dropped=1%,error=1%`.
pub(crate) fn mix(text: &str) -> anyhow::Result<Mix> {
    let mut mix = Mix::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let expected = || {
            format!(
                "`{part}` is no part of a mix; expected KIND=SHARE% with one of rejected, slow, \
                 dropped, error, down and a share of 0 to 100 in steps of 0.1"
            )
        };
        let (kind, share) = part.split_once('=').with_context(expected)?;
        let share = share.strip_suffix('%').and_then(|share| share.parse::<f64>().ok());
        let share = share.filter(|share| (0.0..=100.0).contains(share)).with_context(expected)?;
        let thousandths = (share * 10.0).round() as u32;
        *match kind {
            "rejected" => &mut mix.reject,
            "slow" => &mut mix.slow,
            "dropped" => &mut mix.drop,
            "error" => &mut mix.error,
            "down" => &mut mix.down,
            _ => bail!(expected()),
        } = thousandths;
    }
    let attempts = mix.slow + mix.drop + mix.error + mix.down;
    ensure!(attempts <= 1_000, "slow, dropped, error and down of `{text}` are over 100 % together");
    Ok(mix)
}

/// A participant that has trouble for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) participant: String,
    pub(crate) mix: Mix,
    pub(crate) slow_ms: u64,
    /// Seconds from the beginning of the run.
    pub(crate) from_s: f64,
    pub(crate) until_s: f64,
}

impl Trouble {
    /// `PARTICIPANT:FROM-TO`: it is not there.
    pub(crate) fn outage(text: &str) -> anyhow::Result<Self> {
        let expected =
            || format!("`{text}` is no outage; expected PARTICIPANT:FROM-TO, as in points:20s-40s");
        let [participant, window] = text.split(':').collect::<Vec<_>>()[..] else {
            bail!(expected())
        };
        let mix = Mix { down: 1_000, ..Mix::default() };
        Self::new(participant, mix, SLOW, window).with_context(expected)
    }

    /// `PARTICIPANT:LATENCY:FROM-TO`: every answer comes so much later.
    pub(crate) fn slow(text: &str) -> anyhow::Result<Self> {
        let expected = || {
            format!(
                "`{text}` is not understood; expected PARTICIPANT:LATENCY:FROM-TO, as in \
                 payments:800ms:20s-40s"
            )
        };
        let [participant, latency, window] = text.split(':').collect::<Vec<_>>()[..] else {
            bail!(expected())
        };
        let mix = Mix { slow: 1_000, ..Mix::default() };
        let latency = duration(latency).with_context(expected)?;
        Self::new(participant, mix, latency, window).with_context(expected)
    }

    fn new(participant: &str, mix: Mix, slow: Duration, window: &str) -> anyhow::Result<Self> {
        let (from, until) = window.split_once('-').context("the window has no `-`")?;
        let (from, until) = (duration(from)?, duration(until)?);
        ensure!(from < until, "the window `{window}` ends before it begins");
        Ok(Self {
            participant: participant.to_owned(),
            mix,
            slow_ms: u64::try_from(slow.as_millis())?,
            from_s: from.as_secs_f64(),
            until_s: until.as_secs_f64(),
        })
    }

    /// In words, for the plots.
    pub(crate) fn words(&self) -> String {
        let Self { participant, mix, slow_ms, .. } = self;
        if mix.down == 1_000 {
            return format!("{participant} is down");
        }
        let slow = format!("slow by {slow_ms} ms");
        let share = |share: u32, word: &str| {
            let percent = f64::from(share) / 10.0;
            (share > 0).then(|| match share {
                1_000 => word.to_owned(),
                _ => format!("{percent} % {word}"),
            })
        };
        let parts = [
            share(mix.reject, "rejections"),
            share(mix.down, "down"),
            share(mix.error, "errors"),
            share(mix.drop, "answers lost"),
            share(mix.slow, &slow),
        ];
        format!("{participant}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// `PARTICIPANT:MIX:FROM-TO`, with the slow answers of the mix as slow as elsewhere.
impl FromStr for Trouble {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected = || {
            format!(
                "`{text}` is no trouble; expected PARTICIPANT:MIX:FROM-TO, as in \
                 points:slow=60%,error=30%:20s-40s"
            )
        };
        let [participant, shares, window] = text.split(':').collect::<Vec<_>>()[..] else {
            bail!(expected())
        };
        let mix = mix(shares).with_context(expected)?;
        ensure!(mix != Mix::default(), "{}: its mix is nothing", expected());
        Self::new(participant, mix, SLOW, window).with_context(expected)
    }
}

/// Everything that goes wrong in a run.
#[derive(Clone, Debug)]
pub(crate) struct Troubles {
    pub(crate) mix: Mix,
    pub(crate) slow: Duration,
    pub(crate) seed: u64,
    pub(crate) windows: Vec<Trouble>,
}

impl Troubles {
    /// How a participant misbehaves at a moment. Rejections are the affair of `rejecting`, the last
    /// participant that may refuse, so that everything before it has to be compensated.
    pub(crate) fn switches(&self, participant: &str, rejecting: &str, at: f64) -> Switches {
        let mut mix = self.mix;
        if participant != rejecting {
            mix.reject = 0;
        }
        let mut slow_ms = u64::try_from(self.slow.as_millis()).unwrap_or(u64::MAX);
        let now = |window: &&Trouble| {
            window.participant == participant && (window.from_s..window.until_s).contains(&at)
        };
        if let Some(window) = self.windows.iter().find(now) {
            // A window that says nothing of rejections leaves them as they are.
            let reject = if window.mix.reject > 0 { window.mix.reject } else { mix.reject };
            mix = Mix { reject, ..window.mix };
            slow_ms = window.slow_ms;
        }
        Switches { mix, slow_ms, seed: self.seed, ..Switches::default() }
    }

    /// When something changes, in seconds from the beginning of the run, in order.
    pub(crate) fn changes(&self) -> Vec<f64> {
        let mut changes: Vec<f64> =
            self.windows.iter().flat_map(|window| [window.from_s, window.until_s]).collect();
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        changes
    }

    /// From when to when each participant is in trouble.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (f64, f64)> {
        self.windows.iter().map(|window| (window.from_s, window.until_s))
    }

    /// Fails when a window names a participant that the target does not have, or one that rejects nothing.
    pub(crate) fn check(&self, participants: &[&str], rejecting: &str) -> anyhow::Result<()> {
        for Trouble { participant, mix, .. } in &self.windows {
            ensure!(
                participants.contains(&participant.as_str()),
                "there is no participant `{participant}`; this target has {}",
                participants.join(", ")
            );
            ensure!(
                mix.reject == 0 || participant == rejecting,
                "rejected={}% of {participant} would do nothing: only {rejecting} rejects orders, so that \
                 everything before has to be compensated; use {rejecting}:rejected=..%",
                f64::from(mix.reject) / 10.0
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_in_thousandths() {
        let expected = Mix { reject: 50, slow: 20, drop: 10, error: 5, down: 0 };
        assert_eq!(mix("rejected=5%,slow=2%,dropped=1%,error=0.5%").unwrap(), expected);
        assert_eq!(mix("").unwrap(), Mix::default());
    }

    #[test]
    fn a_mix_that_is_none_says_what_is_expected() {
        for text in ["slow", "slow=2", "fast=2%", "slow=101%", "slow=-1%"] {
            assert!(mix(text).unwrap_err().to_string().contains("expected"), "{text}");
        }
        assert!(mix("slow=60%,error=60%").unwrap_err().to_string().contains("over 100 %"));
    }

    #[test]
    fn a_window_replaces_the_mix_of_its_participant_while_it_lasts() {
        let troubles = Troubles {
            mix: mix("rejected=5%,error=1%").unwrap(),
            slow: SLOW,
            seed: 3,
            windows: vec![
                Trouble::outage("points:20s-40s").unwrap(),
                Trouble::slow("payments:800ms:30s-50s").unwrap(),
            ],
        };
        let at = |participant, at| troubles.switches(participant, "payments", at);
        assert_eq!(at("points", 19.9).mix, mix("error=1%").unwrap());
        assert_eq!(at("points", 20.0).mix, mix("down=100%").unwrap());
        assert_eq!(at("points", 40.0).mix, mix("error=1%").unwrap());
        assert_eq!(at("payments", 35.0).mix, mix("rejected=5%,slow=100%").unwrap());
        assert_eq!(at("payments", 35.0).slow_ms, 800);
        assert_eq!(troubles.changes(), [20.0, 30.0, 40.0, 50.0]);
        assert!(troubles.check(&["points"], "").unwrap_err().to_string().contains("payments"));
    }

    #[test]
    fn a_window_may_have_rejections_of_its_own_where_somebody_rejects() {
        let troubles = |window: &str| Troubles {
            mix: mix("rejected=5%").unwrap(),
            slow: SLOW,
            seed: 3,
            windows: vec![window.parse().unwrap()],
        };
        let rejecting = troubles("payments:rejected=30%,error=1%:20s-40s");
        rejecting.check(&["payments"], "payments").unwrap();
        let at = |at| rejecting.switches("payments", "payments", at).mix.reject;
        assert_eq!((at(19.0), at(20.0), at(40.0)), (50, 300, 50));
        assert!(rejecting.windows[0].words().contains("30 % rejections"));
        let refused = troubles("points:rejected=30%:20s-40s").check(&["points"], "payments");
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("only payments rejects orders"), "{refused}");
    }

    #[test]
    fn windows_that_are_none_say_what_is_expected() {
        for text in ["points", "points:20s", "points:40s-20s", "points:a-b"] {
            assert!(Trouble::outage(text).unwrap_err().to_string().contains("expected"), "{text}");
        }
        assert!(Trouble::slow("points:20s-40s").is_err());
        assert!("points:slow=0%:1s-2s".parse::<Trouble>().is_err());
        assert!("points::1s-2s".parse::<Trouble>().is_err());
        assert!("points:slow=60%:1s-2s".parse::<Trouble>().is_ok());
    }
}

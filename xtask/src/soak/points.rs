//! The crash points: which there are, which process is armed with which, and how often each was hit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::demo::rng::Rng;

/// Who passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passer {
    /// A worker at work.
    Worker,
    /// A worker that is told to drain.
    Draining,
    /// A worker that lives long enough to look for sagas that may be forgotten.
    Forgetting,
    /// The order service, which starts the sagas.
    Orders,
    /// A participant.
    Participant,
}

/// A place in the code where a process can be made to die.
#[derive(Debug)]
pub(super) struct Point {
    pub name: &'static str,
    pub passer: Passer,
    /// With which chance a process that is armed with it dies there, each time it passes.
    share: &'static str,
}

const fn point(name: &'static str, passer: Passer, share: &'static str) -> Point {
    Point { name, passer, share }
}

/// All points, before and after every durable or external step.
pub(super) const POINTS: [Point; 29] = [
    point("start.before", Passer::Orders, "0.1"),
    point("start.after", Passer::Orders, "0.1"),
    point("start_in.before", Passer::Orders, "0.2"),
    point("start_in.after", Passer::Orders, "0.2"),
    point("submit.before", Passer::Orders, "0.5"),
    point("submit.after", Passer::Orders, "0.5"),
    point("enlist.before", Passer::Worker, "1"),
    point("enlist.after", Passer::Worker, "1"),
    point("claim.before", Passer::Worker, "0.2"),
    point("claim.after", Passer::Worker, "0.5"),
    point("append.before", Passer::Worker, "0.03"),
    point("append.after", Passer::Worker, "0.03"),
    point("call.before", Passer::Worker, "0.03"),
    point("call.after", Passer::Worker, "0.03"),
    point("compensation.before", Passer::Worker, "0.1"),
    point("compensation.after", Passer::Worker, "0.1"),
    point("answer.before", Passer::Worker, "0.5"),
    point("answer.after", Passer::Worker, "0.5"),
    point("renew.before", Passer::Worker, "0.5"),
    point("renew.after", Passer::Worker, "0.5"),
    point("forget.before", Passer::Forgetting, "1"),
    point("forget.after", Passer::Forgetting, "1"),
    point("drain", Passer::Draining, "1"),
    point("release.before", Passer::Draining, "1"),
    point("release.after", Passer::Draining, "1"),
    point("retire.before", Passer::Draining, "1"),
    point("retire.after", Passer::Draining, "1"),
    point("commit.before", Passer::Participant, "0.02"),
    point("commit.after", Passer::Participant, "0.02"),
];

/// Deals the points out, those first that were hit least.
#[derive(Debug)]
pub(super) struct Armoury {
    log: PathBuf,
    hits_wanted: u64,
    dealt: Mutex<Dealt>,
}

#[derive(Debug)]
struct Dealt {
    rng: Rng,
    /// How many processes that are armed with the point run now.
    out: BTreeMap<&'static str, u64>,
}

impl Armoury {
    /// An armoury whose processes write the points they die at into a file in `folder`.
    pub(super) fn new(folder: &Path, seed: u64, hits_wanted: u64) -> Self {
        let dealt = Mutex::new(Dealt { rng: Rng::new(seed), out: BTreeMap::new() });
        Self { log: folder.join("crash-points.log"), hits_wanted, dealt }
    }

    /// The file in which processes note where they die.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// A point for a new process that passes points of these kinds, or none.
    pub(super) fn deal(&self, passers: &[Passer]) -> Option<&'static Point> {
        let hits = self.hits();
        let mut dealt = self.dealt.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = |dealt: &Dealt, point: &Point| {
            let out = dealt.out.get(point.name).copied().unwrap_or_default();
            hits.get(point.name).copied().unwrap_or_default() + out
        };
        let mut points: Vec<_> =
            POINTS.iter().filter(|point| passers.contains(&point.passer)).collect();
        dealt.rng.shuffle(&mut points);
        let point = points.into_iter().min_by_key(|point| weight(&dealt, point))?;
        // Points that lag behind are what most processes are for; the others live without one. Services
        // are started seldom, so each of them counts.
        let lags = hits.get(point.name).copied().unwrap_or_default() < self.hits_wanted;
        let is_worker = passers.contains(&Passer::Worker);
        let share = match (lags, is_worker) {
            (true, true) => 8,
            (true, false) => 10,
            (false, _) => 3,
        };
        if dealt.rng.below(10) >= share {
            return None;
        }
        *dealt.out.entry(point.name).or_default() += 1;
        Some(point)
    }

    /// A process that was armed with the point is gone.
    pub(super) fn take_back(&self, point: &'static Point) {
        let mut dealt = self.dealt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = dealt.out.get_mut(point.name) {
            *out = out.saturating_sub(1);
        }
    }

    /// How often each point was hit.
    pub(super) fn hits(&self) -> BTreeMap<&'static str, u64> {
        let mut hits: BTreeMap<_, _> = POINTS.iter().map(|point| (point.name, 0)).collect();
        for (name, _) in self.notes() {
            if let Some(count) = hits.get_mut(name.as_str()) {
                *count += 1;
            }
        }
        hits
    }

    /// The point at which a process died, if it died at one.
    pub(super) fn death_of(&self, pid: u32) -> Option<String> {
        let is_point = |name: &str| POINTS.iter().any(|point| point.name == name);
        let mut deaths = self.notes().into_iter().rev().filter(|(name, _)| is_point(name));
        deaths.find(|(_, died)| *died == pid).map(|(name, _)| name)
    }

    /// How often processes noted something that is no crash point.
    pub(super) fn noted(&self, what: &str) -> u64 {
        self.notes().iter().filter(|(name, _)| name == what).count() as u64
    }

    /// How often these processes noted something that is no crash point.
    pub(super) fn noted_by(&self, what: &str, pids: &BTreeSet<u32>) -> u64 {
        self.notes().iter().filter(|(name, pid)| name == what && pids.contains(pid)).count() as u64
    }

    /// The points that were hit less often than wanted.
    pub(super) fn lagging(&self) -> Vec<String> {
        let hits = self.hits().into_iter().filter(|(_, hits)| *hits < self.hits_wanted);
        hits.map(|(name, hits)| format!("{name} ({hits} of {})", self.hits_wanted)).collect()
    }

    fn notes(&self) -> Vec<(String, u32)> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let note = |line: &str| {
            let (name, pid) = line.split_once(' ')?;
            Some((name.to_owned(), pid.parse().ok()?))
        };
        log.lines().filter_map(note).collect()
    }
}

impl Point {
    /// The environment that arms a process with this point.
    pub(super) fn arm(&self) -> String {
        format!("{}={}", self.name, self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_were_hit_least_are_dealt_first_and_hits_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let armoury = Armoury::new(folder.path(), 7, 1);
        std::fs::write(armoury.log(), "commit.before 12\ncommit.before 13\n").unwrap();
        assert_eq!(armoury.hits()["commit.before"], 2);
        assert_eq!(armoury.death_of(13).as_deref(), Some("commit.before"));
        assert_eq!(armoury.death_of(14), None);
        let dealt = (0..20).find_map(|_| armoury.deal(&[Passer::Participant])).unwrap();
        assert_eq!(dealt.name, "commit.after");
        assert!(armoury.lagging().iter().any(|point| point.starts_with("commit.after (0 of 1)")));
        assert!(!armoury.lagging().iter().any(|point| point.starts_with("commit.before")));
    }
}

//! What the environment armed, read once.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Plant;

/// The process dies here, with the chance that `SAGA_CRASH_POINTS` gives this point.
pub fn crash_here(point: &'static str) {
    if strikes(point) {
        note(point);
        // No destructor, no handler, no flush: as near to SIGKILL as a process comes by itself.
        std::process::abort();
    }
}

/// Stops the whole process, as SIGSTOP does, until somebody lets it go on.
pub fn stand_still() {
    let stop = format!("kill -STOP {}", std::process::id());
    if let Err(error) = std::process::Command::new("/bin/sh").args(["-c", &stop]).status() {
        eprintln!("error: cannot stop this process: {error}");
    }
}

/// Writes a line, `what pid`, into the file that `SAGA_CRASH_LOG` names.
pub fn note(what: &'static str) {
    if let Some(mut log) = armed().log.as_ref() {
        // One write, so that processes that die at once do not mix their lines.
        log.write_all(format!("{what} {}\n", std::process::id()).as_bytes()).ok();
    }
}

/// Whether what this point stands for is to happen now, with the chance that it was armed with.
#[must_use]
pub fn strikes(point: &'static str) -> bool {
    let share = armed().points.iter().find(|(name, _)| name == point).map(|(_, share)| *share);
    share.is_some_and(chance)
}

/// Whether this process has the bug.
#[must_use]
pub fn planted(plant: Plant) -> bool {
    armed().plant == Some(plant)
}

/// True with the given chance, from 0 to 1.
#[must_use]
pub fn chance(share: f64) -> bool {
    // SplitMix64: every draw takes the next state, whichever thread it is.
    let drawn = armed().state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let drawn = (mixed ^ (mixed >> 31)) >> 11;
    (drawn as f64) < share * (1_u64 << 53) as f64
}

struct Armed {
    points: Vec<(String, f64)>,
    plant: Option<Plant>,
    log: Option<File>,
    state: AtomicU64,
}

fn armed() -> &'static Armed {
    static ARMED: OnceLock<Armed> = OnceLock::new();
    ARMED.get_or_init(|| {
        Armed::read(|name| std::env::var(name).ok()).unwrap_or_else(|fault| {
            eprintln!("error: {fault}");
            std::process::exit(2)
        })
    })
}

impl Armed {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let text = |name| variable(name).unwrap_or_default();
        let log = match variable("SAGA_CRASH_LOG") {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(&path);
                Some(opened.map_err(|error| format!("SAGA_CRASH_LOG `{path}`: {error}"))?)
            }
        };
        let seed = match text("SAGA_CRASH_SEED") {
            none if none.is_empty() => 0,
            seed => seed.parse().map_err(|_| {
                format!("SAGA_CRASH_SEED is `{seed}`; expected a number from 0 to 2^64 - 1")
            })?,
        };
        Ok(Self {
            points: points(&text("SAGA_CRASH_POINTS"))?,
            plant: plant(&text("SAGA_PLANT"))?,
            log,
            state: AtomicU64::new(seed),
        })
    }
}

fn points(text: &str) -> Result<Vec<(String, f64)>, String> {
    let point = |entry: &str| {
        let (name, share) = entry.split_once('=')?;
        let share: f64 = share.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
        Some((name.to_owned(), share))
    };
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            point(entry).ok_or_else(|| {
                format!(
                    "SAGA_CRASH_POINTS has `{entry}`; expected a point and its chance from 0 to 1, \
                     for instance append.before=0.01"
                )
            })
        })
        .collect()
}

fn plant(name: &str) -> Result<Option<Plant>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let plant = Plant::ALL.into_iter().find(|plant| plant.name() == name);
    let known = Plant::ALL.map(Plant::name).join(", ");
    plant.map(Some).ok_or_else(|| format!("SAGA_PLANT is `{name}`; expected one of {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Armed, String> {
        Armed::read(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn points_and_their_chances_are_read_and_nothing_is_armed_without_them() {
        let armed = read("SAGA_CRASH_POINTS", "append.before=0.25,call.after=1").unwrap();
        let expected = [("append.before".to_owned(), 0.25), ("call.after".to_owned(), 1.0)];
        assert_eq!(armed.points, expected);
        let nothing = read("SAGA_CRASH_POINTS", "").unwrap();
        assert!(nothing.points.is_empty() && nothing.plant.is_none());
    }

    #[test]
    fn every_plant_is_read_by_its_name() {
        for plant in Plant::ALL {
            assert_eq!(read("SAGA_PLANT", plant.name()).unwrap().plant, Some(plant));
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_what_was_expected() {
        for (name, value, expected) in [
            ("SAGA_CRASH_POINTS", "append.before", "append.before=0.01"),
            ("SAGA_CRASH_POINTS", "append.before=2", "from 0 to 1"),
            ("SAGA_CRASH_SEED", "many", "a number"),
            ("SAGA_PLANT", "no-sense", "no-tombstone"),
        ] {
            let fault = read(name, value).err().unwrap_or_default();
            assert!(fault.contains(name) && fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn chances_come_true_about_as_often_as_they_say() {
        assert!(!chance(0.0) && chance(1.0));
        let came = (0..10_000).filter(|_| chance(0.25)).count();
        assert!((2_000..3_000).contains(&came), "{came}");
    }
}

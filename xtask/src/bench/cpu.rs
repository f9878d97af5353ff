//! The CPU time of processes and all their descendants, from `/proc`.

use std::collections::BTreeMap;

/// Ticks in a second: 100 on every Linux there is.
const TICKS_PER_S: f64 = 100.0;

/// A process as `/proc/<pid>/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Of the process and of its children that have ended.
    ticks: u64,
}

/// Seconds of CPU that these processes and their descendants have used so far. What a process has
/// used is counted with its parent once it has ended.
pub(super) fn seconds(roots: &[u32]) -> f64 {
    let all = processes();
    let is_ours = |pid: u32| {
        let mut at = pid;
        // A chain of parents is short, and ends at 0.
        for _ in 0..64 {
            if roots.contains(&at) {
                return true;
            }
            match all.get(&at) {
                Some(stat) if stat.parent != 0 => at = stat.parent,
                _ => return false,
            }
        }
        false
    };
    let ticks: u64 = all.iter().filter(|(pid, _)| is_ours(**pid)).map(|(_, stat)| stat.ticks).sum();
    ticks as f64 / TICKS_PER_S
}

fn processes() -> BTreeMap<u32, Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let stat = |entry: std::io::Result<std::fs::DirEntry>| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
    };
    entries.filter_map(stat).collect()
}

/// The name of a program stands in parentheses and may hold anything; the fields follow it.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |nth: usize| fields.get(nth)?.parse::<u64>().ok();
    // Fields 14 to 17 of the whole line: of the process, then of its ended children.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_hold_anything() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7";
        assert_eq!(parse(line), Some(Stat { parent: 7, ticks: 124 }));
        assert_eq!(parse("no stat at all"), None);
    }

    #[test]
    fn this_process_has_used_some_and_nobody_has_used_none() {
        let begun = std::time::Instant::now();
        let mut work = 1_u64;
        while seconds(&[std::process::id()]) == 0.0 && begun.elapsed().as_secs() < 30 {
            work = work.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        assert!(seconds(&[std::process::id()]) > 0.0, "{work}");
        assert!(seconds(&[]).abs() < f64::EPSILON);
    }
}

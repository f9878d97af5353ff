//! CPU time of processes, from Linux's `/proc`. Elsewhere it is not told.

use std::fs;
use std::path::Path;

/// Linux tells times to user programs in hundredths of a second, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of this process so far, with all its threads.
pub(super) fn own() -> Option<f64> {
    Stat::read(Path::new("/proc/self/stat")).map(|stat| stat.own_ticks as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of a PostgreSQL server so far: of its first process, of those it has started, and
/// of those that it has seen end.
pub(super) fn of_server(pid: u32) -> Option<f64> {
    let server = Stat::read(&Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let mut ticks = server.own_ticks + server.waited_ticks;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(stat) = Stat::read(&entry.path().join("stat")) else { continue };
        if stat.parent == pid {
            ticks += stat.own_ticks;
        }
    }
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// In user code and in the kernel.
    own_ticks: u64,
    /// The same of children that have ended.
    waited_ticks: u64,
}

impl Stat {
    fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// See proc(5). The name in brackets may itself hold brackets and spaces.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(4)?).ok()?,
            own_ticks: number(14)? + number(15)?,
            waited_ticks: number(16)? + number(17)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_brackets_in_its_name_is_read_right() {
        let line = "17 (postgres: a) b) S 9 17 17 0 -1 4194304 97 0 0 0 100 20 3 4 20 0 1 0 1";
        let stat = Stat { parent: 9, own_ticks: 120, waited_ticks: 7 };
        assert_eq!(Stat::parse(line), Some(stat));
    }

    #[test]
    fn a_cut_line_is_no_reading() {
        assert_eq!(Stat::parse("17 (postgres) S 9 17"), None);
    }
}

//! What a run leaves behind: a JSON file for programs, an HTML file for people.

pub(crate) mod compare;
mod html;
pub(crate) mod page;
pub(crate) mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::open::audit::Audit;
use crate::open::generator::Diligence;
use crate::open::recorder::{Ends, Latencies, Phase, Second};
use crate::open::target::BreakerSample;
use crate::open::trouble::Trouble;
use crate::open::turns::Turned;

/// Rises when a field changes its meaning.
pub(crate) const FORMAT: u32 = 1;

/// A switch that takes longer is told.
const LATE_S: f64 = 0.25;

/// A run of the open loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) title: String,
    pub(crate) machine: Machine,
    /// What was asked for, as name and value.
    pub(crate) settings: Vec<(String, String)>,
    /// Sagas that were to arrive after the warm-up, per second.
    pub(crate) offered_per_s: f64,
    /// Those of them with a verdict, per second of the same time.
    pub(crate) verdicts_per_s: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) length_s: f64,
    pub(crate) ends: Ends,
    pub(crate) latencies: Latencies,
    pub(crate) phases: Vec<Phase>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) troubles: Vec<Trouble>,
    /// When they, and the freeze, really began and ended.
    #[serde(default)]
    pub(crate) turned: Vec<Turned>,
    /// From when to when the daemon stood still, in seconds.
    #[serde(default)]
    pub(crate) frozen: Option<(f64, f64)>,
    pub(crate) breakers: Vec<BreakerSample>,
    /// Seconds at which nobody told how the breakers are.
    #[serde(default)]
    pub(crate) breakers_unknown_s: Vec<f64>,
    /// The first reasons of those that did not end well.
    pub(crate) reasons: Vec<String>,
    /// Sagas that could not be started, those of the warm-up included.
    #[serde(default)]
    pub(crate) refused: u64,
    /// How well the load was put on.
    #[serde(default)]
    pub(crate) generator: Diligence,
    pub(crate) audit: Audit,
}

impl Report {
    /// Reads a report that was written as JSON.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
        let report: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no report of `saga-bench load`", path.display()))?;
        anyhow::ensure!(
            report.format == FORMAT,
            "{} has format {}, this release reads {FORMAT}",
            path.display(),
            report.format
        );
        Ok(report)
    }

    /// Writes `PATH.json` and `PATH.html`.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(&with_extension(path, "json"), &serde_json::to_string_pretty(self)?)?;
        write(&with_extension(path, "html"), &html::render(self))
    }

    pub(crate) fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// How many sagas have arrived without having ended, at the end of each second.
    pub(crate) fn backlog(&self) -> Vec<u64> {
        let (mut arrived, mut ended) = (0, 0);
        let backlog = self.seconds.iter().map(|second| {
            arrived += second.arrived;
            ended += second.ended;
            u64::saturating_sub(arrived, ended)
        });
        backlog.collect()
    }

    /// What was switched so late that the phases, which go by the plan, are wrong by that much.
    pub(crate) fn put_on_late(&self) -> Option<String> {
        let late = |turned: &Turned| turned.done_s - turned.due_s;
        let worst = self.turned.iter().max_by(|a, b| late(a).total_cmp(&late(b)))?;
        (late(worst) > LATE_S).then(|| {
            format!(
                "what was to change at {} s had changed at {:.2} s only, and phases go by the plan",
                worst.due_s, worst.done_s
            )
        })
    }

    /// The lines under a run in the terminal.
    pub(crate) fn summary(&self) -> String {
        let Ends { completed, compensated, stopped, alive, not_started, not_reached } = &self.ends;
        let mut lines = vec![
            format!(
                "offered {:.0}/s, verdicts {:.0}/s; {completed} completed, {compensated} compensated, \
                 {stopped} stopped, {alive} without verdict, {not_started} not started, {not_reached} not reached",
                self.offered_per_s, self.verdicts_per_s
            ),
            format!(
                "{:>10} {:>9} {:>9} {:>9} {:>9}",
                "phase", "sagas", "p50 ms", "p99 ms", "max ms"
            ),
        ];
        let line = |name: &str, of: &Latencies| {
            let Latencies { count, p50_ms, p99_ms, max_ms, .. } = of;
            format!("{name:>10} {count:>9} {p50_ms:>9.1} {p99_ms:>9.1} {max_ms:>9.1}")
        };
        lines.push(line("all", &self.latencies));
        if self.phases.len() > 1 {
            lines.extend(self.phases.iter().map(|phase| line(&phase.name, &phase.latencies)));
        }
        lines.push(self.generator.words(self.ends.all()));
        lines.extend(self.put_on_late());
        lines.extend(self.reasons.iter().map(|reason| format!("not well: {reason}")));
        lines.extend(self.audit.findings.iter().map(|finding| format!("WRONG: {finding}")));
        if self.audit.findings.is_empty() && !self.audit.looked_at.is_empty() {
            lines.push(format!("audited, nothing found: {}", self.audit.looked_at.join("; ")));
        }
        lines.extend(self.audit.not_looked_at.iter().map(|what| format!("NOT audited: {what}")));
        lines.join("\n")
    }
}

/// The path with `.json` or the like after it: `out/v1.2` has no extension that may be replaced.
pub(crate) fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// Writes a file of a report, and says where it is when it cannot.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_the_name_of_a_report_is_no_extension() {
        let of = |path: &str| with_extension(Path::new(path), "json");
        assert_eq!(of("out/v1.2-a"), Path::new("out/v1.2-a.json"));
        assert_eq!(of("out/scale"), Path::new("out/scale.json"));
    }
}

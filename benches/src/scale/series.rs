//! The runs along one dimension, as lines of a table and as measures whose growth is told.

use clap::ValueEnum;
use serde::Serialize;

use super::due;
use super::growth::Growth;
use crate::figures::{Figures, cell};
use crate::load::StoreKind;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dimension {
    /// Clients at once
    Concurrency,
    /// Workers
    Workers,
    /// Steps of each saga
    Steps,
    /// Bytes of input of each saga
    Payload,
    /// Finished sagas in the tables
    History,
    /// Waiting sagas that are due at the same moment
    Due,
}

impl Dimension {
    /// What its sizes count.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Concurrency => "clients",
            Self::Workers => "workers",
            Self::Steps => "steps",
            Self::Payload => "input bytes",
            Self::History => "finished sagas",
            Self::Due => "due at once",
        }
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) dimension: Dimension,
    pub(crate) size: u64,
    /// How often it was run; of each figure the median counts.
    pub(crate) rounds: usize,
    /// The least and the most of all rounds: of sagas/s, or of the seconds of `due`.
    spread: [f64; 2],
    #[serde(flatten)]
    pub(crate) ran: Ran,
}

/// What a run found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Ran {
    /// A closed loop through the engine.
    Loop(Figures),
    /// Waiting sagas whose time came.
    Due(due::Figures),
}

impl Ran {
    /// Each figure by its own median; `None` of nothing.
    fn median(rounds: &[Self]) -> Option<Self> {
        Some(match rounds.first()? {
            Self::Loop(first) => {
                let all = rounds.iter().filter_map(|ran| match ran {
                    Self::Loop(figures) => Some(figures),
                    Self::Due(_) => None,
                });
                Self::Loop(first.median(&all.collect::<Vec<_>>()))
            }
            Self::Due(first) => {
                let all = rounds.iter().filter_map(|ran| match ran {
                    Self::Due(figures) => Some(figures),
                    Self::Loop(_) => None,
                });
                Self::Due(first.median(&all.collect::<Vec<_>>()))
            }
        })
    }
}

/// A figure whose growth is told. What could not be measured is left out.
type Measure = (&'static str, Option<f64>);

impl Point {
    /// `None` without a round.
    pub(crate) fn of(dimension: Dimension, size: u64, rounds: &[Ran]) -> Option<Self> {
        let of = |ran: &Ran| match ran {
            Ran::Loop(figures) => figures.sagas_per_s,
            Ran::Due(figures) => figures.seconds,
        };
        let least = rounds.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = rounds.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let (spread, ran) = ([least, most], Ran::median(rounds)?);
        Some(Self { dimension, size, rounds: rounds.len(), spread, ran })
    }

    pub(crate) fn head(&self) -> Vec<String> {
        let names: &[&str] = match &self.ran {
            Ran::Loop(_) => &[
                "sagas/s",
                "p50 ms",
                "p99 ms",
                "of sagas",
                "CPU ms engine",
                "CPU ms databs",
                "bytes",
                "commits",
            ],
            Ran::Due(_) => &[
                "seconds",
                "verdicts/s",
                "claims each",
                "fresh p50 ms",
                "fresh p99 ms",
                "of fresh",
                "p99 before",
                "of before",
            ],
        };
        let spread = match (&self.ran, self.rounds) {
            (_, 1) => None,
            (Ran::Loop(_), _) => Some("sagas/s from to"),
            (Ran::Due(_), _) => Some("seconds from to"),
        };
        let names = std::iter::once(self.dimension.unit()).chain(names.iter().copied());
        names.chain(spread).map(str::to_owned).collect()
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let cells = match &self.ran {
            Ran::Loop(of) => vec![
                format!("{:.0}", of.sagas_per_s),
                format!("{:.2}", of.p50_ms),
                format!("{:.2}", of.p99_ms),
                of.timed.to_string(),
                // Seconds for a thousand are milliseconds for each.
                cell(of.costs.engine_cpu_s_per_1000, 3),
                cell(of.costs.database_cpu_s_per_1000, 3),
                cell(of.written_bytes(), 0),
                cell(of.costs.commits_per_saga, 3),
            ],
            Ran::Due(of) => vec![
                format!("{:.2}", of.seconds),
                format!("{:.0}", of.verdicts_per_s),
                format!("{:.3}", of.claims_per_saga),
                format!("{:.1}", of.fresh_p50_ms),
                format!("{:.1}", of.fresh_p99_ms),
                of.fresh.to_string(),
                format!("{:.1}", of.fresh_before_p99_ms),
                of.fresh_before.to_string(),
            ],
        };
        let [least, most] = self.spread;
        let spread = match (&self.ran, self.rounds) {
            (_, 1) => None,
            (Ran::Loop(_), _) => Some(format!("{least:.0}-{most:.0}")),
            (Ran::Due(_), _) => Some(format!("{least:.2}-{most:.2}")),
        };
        std::iter::once(self.size.to_string()).chain(cells).chain(spread).collect()
    }

    fn measures(&self) -> Vec<Measure> {
        match &self.ran {
            Ran::Due(of) => vec![
                ("seconds until all have run", Some(of.seconds)),
                ("p99 of fresh sagas", Some(of.fresh_p99_ms)),
            ],
            Ran::Loop(of) => match self.dimension {
                Dimension::Concurrency | Dimension::Workers => {
                    vec![("sagas/s", Some(of.sagas_per_s)), ("p99", Some(of.p99_ms))]
                }
                Dimension::Steps | Dimension::Payload | Dimension::History | Dimension::Due => {
                    vec![
                        ("time per saga", Some(1_000.0 / of.sagas_per_s)),
                        ("CPU per saga", of.cpu_ms()),
                        ("bytes written per saga", of.written_bytes()),
                    ]
                }
            },
        }
    }
}

/// All runs along a dimension, from small to large.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) store: StoreKind,
    pub(crate) dimension: Dimension,
    pub(crate) points: Vec<Point>,
}

impl Series {
    pub(crate) fn new(store: StoreKind, dimension: Dimension) -> Self {
        Self { store, dimension, points: Vec::new() }
    }

    /// How often each size was run.
    pub(crate) fn rounds(&self) -> usize {
        self.points.iter().map(|point| point.rounds).min().unwrap_or(1)
    }

    /// How each measure grows.
    pub(crate) fn growth(&self) -> Vec<Growth> {
        let names = self.points.first().map(Point::measures).unwrap_or_default();
        let names = names.into_iter().map(|(name, _)| name);
        names.filter_map(|name| Growth::of(self, name, &self.values(name))).collect()
    }

    /// A measure by size.
    fn values(&self, name: &str) -> Vec<(f64, f64)> {
        let value = |point: &Point| {
            let found = point.measures().into_iter().find(|(other, _)| *other == name)?;
            Some((point.size as f64, found.1?))
        };
        self.points.iter().filter_map(value).collect()
    }
}

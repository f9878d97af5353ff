//! How a measure grows with a size, in a figure and in a sentence.

use serde::Serialize;

use super::series::{Dimension, Series};
use crate::load::StoreKind;

/// An exponent this close to a whole one is taken for it.
const CLOSE: f64 = 0.05;

/// The growth of one measure along one dimension.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    bench: &'static str,
    store: StoreKind,
    dimension: Dimension,
    measure: &'static str,
    /// The smallest size and the largest.
    from: f64,
    to: f64,
    /// What is measured at the largest, by what is measured at the smallest.
    times: f64,
    /// The slope of a straight line through the logarithms of both: 1 is growth in proportion. Sizes
    /// of nothing are left out.
    exponent: Option<f64>,
    /// The slopes between neighbouring sizes: where they differ, one exponent says little.
    local: Vec<f64>,
    pub(crate) words: String,
}

impl Growth {
    /// Of points from small to large; nothing can be said of fewer than two.
    pub(super) fn of(
        series: &Series,
        measure: &'static str,
        points: &[(f64, f64)],
    ) -> Option<Self> {
        let [(from, first), .., (to, last)] = points else { return None };
        let (dimension, times, exponent) = (series.dimension, last / first, slope(points));
        let unit = dimension.unit();
        let mut words = format!("{measure}: at {to} {unit} {times:.2} times that at {from}");
        if *from > 0.0 {
            words += &format!(", which is {:.1} times as much", to / from);
        }
        if let Some(exponent) = exponent {
            words += &format!("; exponent {exponent:.2}, {}", judged(exponent));
        }
        let local: Vec<f64> = points.windows(2).filter_map(slope).collect();
        words += &match &local[..] {
            [] => String::new(),
            [_] => " (two sizes only)".to_owned(),
            slopes => {
                let slopes: Vec<_> = slopes.iter().map(|slope| format!("{slope:.2}")).collect();
                format!(" (from size to size {})", slopes.join(", "))
            }
        };
        if series.rounds() == 1 {
            words += "; one run of each size";
        }
        Some(Self {
            bench: "scale_growth",
            store: series.store,
            dimension,
            measure,
            from: *from,
            to: *to,
            times,
            exponent,
            local,
            words,
        })
    }
}

/// Least squares on the logarithms.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let logs = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln()));
    let logs: Vec<_> = logs.collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|log| log.0), mean(|log| log.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        logs.iter().map(|(x, y)| of(x - x_mean, y - y_mean)).sum()
    };
    let (with, own) = (sum(&|x, y| x * y), sum(&|x, _| x * x));
    (logs.len() > 1 && own > 0.0).then_some(with / own)
}

fn judged(exponent: f64) -> &'static str {
    match exponent {
        e if e.abs() <= CLOSE => "it stays the same",
        e if e < 0.0 => "it falls",
        e if e < 1.0 - CLOSE => "it grows less than in proportion",
        e if e <= 1.0 + CLOSE => "it grows in proportion",
        _ => "it grows MORE than in proportion",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(points: &[(f64, f64)]) -> Option<Growth> {
        Growth::of(&Series::new(StoreKind::Sqlite, Dimension::Steps), "time per saga", points)
    }

    #[test]
    fn a_power_law_gives_its_exponent_and_its_judgement() {
        for (power, judgement) in [
            (0.0, "stays the same"),
            (-0.5, "falls"),
            (0.5, "less than in proportion"),
            (1.0, "grows in proportion"),
            (2.0, "MORE than in proportion"),
        ] {
            let points = [2.0_f64, 5.0, 10.0, 20.0].map(|x| (x, 3.0 * x.powf(power)));
            let found = growth(&points).unwrap();
            assert!((found.exponent.unwrap() - power).abs() < 1e-9, "{found:?}");
            assert!(found.words.contains(judgement), "{}", found.words);
        }
    }

    #[test]
    fn a_bend_shows_in_the_slopes_between_neighbours() {
        let found = growth(&[(1.0, 100.0), (10.0, 1_000.0), (100.0, 1_000.0)]).unwrap();
        assert_eq!(found.local.iter().map(|s| s.round()).collect::<Vec<_>>(), [1.0, 0.0]);
        assert!(found.words.contains("(from size to size 1.00, 0.00); one run"), "{}", found.words);
    }

    #[test]
    fn a_size_of_nothing_is_compared_with_and_has_no_part_in_the_exponent() {
        let found = growth(&[(0.0, 2.0), (100.0, 4.0), (10_000.0, 4.0)]).unwrap();
        assert_eq!((found.times, found.exponent), (2.0, Some(0.0)));
        assert!(found.words.starts_with("time per saga: at 10000 steps 2.00 times that at 0;"));
    }

    #[test]
    fn nothing_is_said_of_one_point_and_no_exponent_found_in_one_size() {
        assert_eq!(growth(&[(1.0, 1.0)]), None);
        assert_eq!(growth(&[(0.0, 1.0), (1.0, 1.0)]).unwrap().exponent, None);
    }
}

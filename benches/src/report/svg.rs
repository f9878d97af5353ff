//! Plots as SVG, drawn here: a report needs no network and no script.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 38.0;
/// How many lines have a colour of their own, and how many names fit side by side.
const COLOURS: usize = 8;
const KEYS: usize = 4;
/// The height of a line of text.
const TEXT: f64 = 14.0;

/// How values become places on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// One line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// No line leads to and from a value that is not a number.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A part of the horizontal axis that is coloured, with the words for it.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) until: f64,
    pub(crate) words: String,
}

/// A plot of lines.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
    pub(crate) lines: Vec<Line>,
    pub(crate) bands: Vec<Band>,
}

/// One axis: its bounds and where they are on the page.
#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    from: f64,
    until: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, [begin, end]: [f64; 2]) -> Self {
        let usable = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let (from, until) = match scale {
            Scale::Linear if begin > end => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Linear => (low, if high > low { high } else { low + 1.0 }),
            Scale::Log => {
                let decade = |value: f64, round: fn(f64) -> f64| 10f64.powf(round(value.log10()));
                let (from, until) = (decade(low, f64::floor), decade(high, f64::ceil));
                (from, if until > from { until } else { from * 10.0 })
            }
        };
        Self { scale, from, until, begin, end }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.until - self.from),
            Scale::Log => {
                let value = value.max(self.from);
                (value / self.from).log10() / (self.until / self.from).log10()
            }
        };
        self.begin + share.clamp(0.0, 1.0) * (self.end - self.begin)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                let mut ticks = vec![self.from];
                while let Some(last) = ticks.last().filter(|last| **last < self.until * 0.99) {
                    ticks.push(last * 10.0);
                }
                ticks
            }
            Scale::Linear => {
                let span = self.until - self.from;
                let raw = span / 5.0;
                let decade = 10f64.powf(raw.log10().floor());
                let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
                let step = steps.into_iter().find(|step| *step >= raw).unwrap_or(raw);
                let first = (self.from / step).ceil() as i64;
                (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= self.until).collect()
            }
        }
    }
}

impl Plot {
    /// The plot as an element of a page.
    pub(crate) fn render(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let ends = self.bands.iter().flat_map(|band| [band.from, band.until]);
        let x =
            Axis::new(self.x_scale, points().map(|(x, _)| *x).chain(ends), [LEFT, WIDTH - RIGHT]);
        let y = Axis::new(self.y_scale, points().map(|(_, y)| *y), [HEIGHT - BOTTOM, TOP]);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">",
            escape(self.y),
            escape(self.x)
        );
        for (nth, band) in self.bands.iter().enumerate() {
            let (from, until) = (x.place(band.from), x.place(band.until));
            let _ = write!(
                svg,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                until - from,
                HEIGHT - BOTTOM - TOP,
                escape(&band.words)
            );
            // Words of neighbours stand above each other, and none leaves the page.
            let (at, anchor) = match from > (LEFT + WIDTH) / 2.0 {
                true => (until - 3.0, "end"),
                false => (from + 3.0, "start"),
            };
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - BOTTOM - 4.0 - (nth % 4) as f64 * TEXT,
                escape(&band.words)
            );
        }
        self.axes(&mut svg, &x, &y);
        for (nth, line) in self.lines.iter().enumerate() {
            let colour = nth % COLOURS;
            let parts = line.points.split(|(_, value)| value.is_nan());
            for part in parts.filter(|part| !part.is_empty()) {
                // A point between two gaps is a line of no length.
                let part = if let [point] = part { &[*point, *point][..] } else { part };
                let path = part
                    .iter()
                    .map(|(at, value)| format!("{:.1},{:.1}", x.place(*at), y.place(*value)));
                let path = path.collect::<Vec<_>>().join(" ");
                let _ = write!(svg, "<polyline class=\"line c{colour}\" points=\"{path}\"/>");
            }
            let column = (WIDTH - RIGHT - LEFT) / KEYS as f64;
            let _ = write!(
                svg,
                "<text class=\"key c{colour}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT + 8.0 + (nth % KEYS) as f64 * column,
                TOP + 10.0 + (nth / KEYS) as f64 * TEXT,
                escape(&line.name)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn axes(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(tick)
            );
        }
        for tick in x.ticks() {
            let at = x.place(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 16.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"tick\" x=\"12\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {:.1})\">{}</text>",
            right,
            HEIGHT - 4.0,
            escape(self.x),
            (TOP + bottom) / 2.0,
            (TOP + bottom) / 2.0,
            escape(self.y)
        );
    }
}

/// A number of an axis, short.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", rounded(value / 1e6)),
        size if size >= 1e4 => format!("{}k", rounded(value / 1e3)),
        _ => rounded(value),
    }
}

fn rounded(value: f64) -> String {
    format!("{}", (value * 1_000.0).round() / 1_000.0)
}

/// Text for a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(y_scale: Scale, points: Vec<(f64, f64)>) -> String {
        let lines = vec![Line { name: "a<b".to_owned(), points }];
        let band = Band { from: 0.0, until: 1.0, words: "out & back".to_owned() };
        Plot { x: "s", y: "ms", x_scale: Scale::Linear, y_scale, lines, bands: vec![band] }.render()
    }

    #[test]
    fn a_plot_without_points_or_with_zeros_is_drawn_as_well() {
        for scale in [Scale::Linear, Scale::Log] {
            for points in [vec![], vec![(0.0, 0.0)], vec![(0.0, f64::NAN), (1.0, 5.0)]] {
                let svg = plot(scale, points);
                assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
            }
        }
    }

    #[test]
    fn higher_values_are_further_up_and_words_are_escaped() {
        let svg = plot(Scale::Log, vec![(0.0, 1.0), (1.0, 1_000.0)]);
        assert!(svg.contains("points=\"64.0,202.0 848.0,14.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("out &amp; back"), "{svg}");
    }

    #[test]
    fn a_value_that_is_none_is_a_gap_and_a_band_has_its_words_in_print() {
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, f64::NAN)];
        let svg = plot(Scale::Linear, points);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN"), "{svg}");
        assert!(svg.contains("text-anchor=\"start\">out &amp; back</text>"), "{svg}");
    }

    #[test]
    fn eight_lines_have_a_colour_each_and_names_within_the_page() {
        let line = |nth: u32| Line { name: format!("line {nth}"), points: vec![(0.0, 1.0)] };
        let (x_scale, y_scale) = (Scale::Linear, Scale::Linear);
        let lines = (0..8).map(line).collect();
        let svg = Plot { x: "s", y: "ms", x_scale, y_scale, lines, bands: Vec::new() }.render();
        let keys: Vec<_> = svg.split("<text class=\"key ").skip(1).collect();
        for (nth, key) in keys.iter().enumerate() {
            assert!(key.starts_with(&format!("c{nth}\"")), "{key}");
            let x = key.split("x=\"").nth(1).and_then(|x| x.split('"').next()).unwrap();
            assert!(x.parse::<f64>().unwrap() < WIDTH - 150.0, "{key}");
        }
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let axis = Axis::new(Scale::Linear, [0.0, 43.0].into_iter(), [200.0, 0.0]);
        assert_eq!(axis.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(
            ["1500", "20k", "5M"],
            [1_500.0, 20_000.0, 5e6].map(number).each_ref().map(|s| &**s)
        );
    }
}

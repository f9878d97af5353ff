//! The dashboard, the alert rules and the operator's page, held against the names in the code.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::StuckReason;
use saga_worker::telemetry::{Kind, METRICS, Metric};
use saphyr_parser::{Event, Parser};
use serde_json::Value;

const PAGE: &str = include_str!("../../OPERATIONS.md");
const ALERTS: &str = include_str!("../../observability/alerts.yaml");
const DASHBOARD: &str = include_str!("../../observability/dashboard.json");

/// Words of PromQL that are no metrics.
const WORDS: [&str; 13] = [
    "sum",
    "max",
    "min",
    "by",
    "without",
    "rate",
    "increase",
    "histogram_quantile",
    "absent",
    "and",
    "or",
    "unless",
    "ignoring",
];
/// Labels that the one who scrapes adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// Every series a metric comes as.
fn series() -> BTreeMap<String, &'static Metric> {
    let mut series = BTreeMap::new();
    for metric in METRICS {
        let name = metric.prometheus();
        match metric.kind {
            Kind::Counter | Kind::Gauge => drop(series.insert(name, metric)),
            Kind::Histogram => series
                .extend(["bucket", "sum", "count"].map(|part| (format!("{name}_{part}"), metric))),
        }
    }
    series
}

/// The names of metrics in an expression, after checking everything else in it.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let known = series();
    let mut names = BTreeSet::new();
    let mut labels = BTreeSet::new();
    let (mut rest, mut open, mut grouping) = (expression, Vec::new(), false);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        match first {
            '"' => {
                let end = rest[1..].find('"').expect("a text ends") + 2;
                rest = &rest[end..];
                continue;
            }
            '[' => {
                let end = rest.find(']').expect("a range ends");
                let range = &rest[1..end];
                let digits = range.trim_end_matches(|c: char| c.is_ascii_lowercase());
                let duration = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
                assert!(duration || range == "$__rate_interval", "{range:?} in {expression}");
                rest = &rest[end + 1..];
                continue;
            }
            '(' | '{' => open.push((first, std::mem::take(&mut grouping))),
            ')' => assert!(matches!(open.pop(), Some(('(', _))), "{expression}"),
            '}' => assert!(matches!(open.pop(), Some(('{', _))), "{expression}"),
            _ if end > 0 && !first.is_ascii_digit() => {
                let word = &rest[..end];
                match open.last() {
                    Some(('{', _) | ('(', true)) => drop(labels.insert(word.to_owned())),
                    _ if WORDS.contains(&word) => grouping = word == "by" || word == "without",
                    _ => {
                        assert!(known.contains_key(word), "no metric {word}: {expression}");
                        names.insert(word.to_owned());
                    }
                }
                rest = &rest[end..];
                continue;
            }
            _ => {
                let sane = first.is_ascii_digit() || " .,<>=~!/*+-".contains(first);
                assert!(sane, "{first:?} in {expression}");
            }
        }
        rest = &rest[first.len_utf8()..];
    }
    assert!(open.is_empty(), "{expression}");
    assert!(!names.is_empty(), "{expression} is about nothing");
    for label in labels {
        let has = |name: &String| {
            known[name].attributes.iter().any(|attribute| attribute.replace('.', "_") == label)
        };
        let is_known = ADDED.contains(&label.as_str()) || names.iter().all(has);
        assert!(is_known, "{label} is no label of {names:?}");
    }
    names
}

/// A YAML file as JSON.
fn yaml(text: &str) -> Value {
    fn value(parser: &mut dyn Iterator<Item = Event<'static>>, first: Event<'static>) -> Value {
        match first {
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match parser.next().expect("a list ends") {
                        Event::SequenceEnd => return Value::Array(items),
                        item => items.push(value(parser, item)),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = serde_json::Map::new();
                loop {
                    match parser.next().expect("a mapping ends") {
                        Event::MappingEnd => return Value::Object(entries),
                        Event::Scalar(key, ..) => {
                            let next = parser.next().expect("a key has a value");
                            let old = entries.insert(key.into_owned(), value(parser, next));
                            assert!(old.is_none(), "a key comes twice");
                        }
                        other => panic!("{other:?} is no key"),
                    }
                }
            }
            other => panic!("{other:?} is not expected"),
        }
    }
    // Leaked, so that the events of the parser live as long as the test.
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    let mut events = Parser::new_from_str(text)
        .map(|event| event.expect("it is YAML").0)
        .filter(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_)));
    let first = events.next().expect("it holds something");
    value(&mut events, first)
}

fn rules() -> Vec<Value> {
    let groups = yaml(ALERTS);
    let groups = groups["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The headings of the page, and what stands below each of them.
fn headings() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut heading = String::new();
    for line in PAGE.lines() {
        match line.trim_start_matches('#') {
            title if title.len() < line.len() => title.trim().clone_into(&mut heading),
            _ => {
                let below: &mut String = found.entry(heading.clone()).or_default();
                below.push_str(line);
                below.push('\n');
            }
        }
    }
    found
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " _-".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn alerts_ask_only_for_metrics_that_exist_and_lead_to_their_heading() {
    let headings = headings();
    let rules = rules();
    assert!(rules.len() >= 15);
    for rule in &rules {
        let alert = text(&rule["alert"]);
        metrics_of(text(&rule["expr"]));
        let held = text(&rule["for"]);
        assert!(held.ends_with('m') && held[..held.len() - 1].parse::<u32>().is_ok(), "{held}");
        assert!(matches!(text(&rule["labels"]["severity"]), "page" | "ticket"), "{alert}");
        let notes = &rule["annotations"];
        assert!(!text(&notes["summary"]).is_empty());
        let link = text(&notes["runbook_url"]).split_once("/saga-daemon/OPERATIONS.md#");
        let (_, link) = link.unwrap_or_else(|| panic!("{alert} has no link to the page"));
        let heading = headings.keys().find(|heading| anchor(heading) == link);
        assert_eq!(heading.map(String::as_str), Some(alert), "the heading of {alert}");
        let look = text(&notes["look"]);
        assert!(look.starts_with("saga-worker "), "{look}");
    }
    let alerts: BTreeSet<_> = rules.iter().map(|rule| text(&rule["alert"])).collect();
    assert_eq!(alerts.len(), rules.len(), "each alert has a name of its own");
    let told = headings.keys().filter(|heading| heading.starts_with("Saga"));
    for heading in told {
        assert!(alerts.contains(heading.as_str()), "no alert is called {heading}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{}", panel["title"]);
        let place = &panel["gridPos"];
        let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
        assert!(right <= 24, "{} is too wide", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.extend(metrics_of(text(&target["expr"])));
        }
    }
    let series = series();
    let shown: BTreeSet<_> = shown.iter().map(|name| series[name].name).collect();
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn the_page_has_a_heading_for_every_reason_to_be_stuck_that_leads_to_a_command() {
    let headings = headings();
    for code in StuckReason::CODES {
        let below = headings.get(code).unwrap_or_else(|| panic!("no heading {code}"));
        for part in ["**What it is.**", "**Look", "hen:**", "saga-worker "] {
            assert!(below.contains(part), "{part} is missing below {code}");
        }
    }
}

#[test]
fn links_within_the_page_lead_to_headings() {
    let anchors: BTreeSet<_> = headings().keys().map(|heading| anchor(heading)).collect();
    for link in PAGE.split("](#").skip(1) {
        let link = link.split(')').next().unwrap_or_default();
        assert!(anchors.contains(link), "{link} leads nowhere");
    }
}

#[test]
fn the_page_lists_every_metric_with_its_labels() {
    for metric in METRICS {
        let labels: Vec<_> =
            metric.attributes.iter().map(|name| format!("`{}`", name.replace('.', "_"))).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let (name, about) = (metric.prometheus(), metric.about);
        let row = format!("| `{name}` | {kind} | {} | {about} |", labels.join(", "));
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
#[should_panic(expected = "no metric saga_nothing")]
fn an_unknown_metric_is_found() {
    metrics_of("sum by (saga_name) (rate(saga_nothing[5m])) > 0");
}

#[test]
#[should_panic(expected = "color is no label")]
fn an_unknown_label_is_found() {
    metrics_of("max by (color) (saga_ready)");
}

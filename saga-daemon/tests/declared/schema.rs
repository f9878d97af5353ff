//! The JSON Schema and the parser say the same.

use std::collections::BTreeMap;

use saga_daemon::declared::{self, Options, schema};
use saphyr_parser::{Event, ScalarStyle};
use serde_json::{Value, json};

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// YAML is a superset of JSON, so a JSON value is the text of a definition.
fn parse(definition: &Value) -> Result<(), String> {
    let text = definition.to_string();
    let declared = declared::parse("test.yaml", &text, &Options::default());
    declared.map(drop).map_err(|faults| faults.to_string())
}

/// A definition that uses every key there is.
fn everything() -> Value {
    let retry = json!({"attempts": 5, "delay": "1s", "delay_max": "1m30s", "multiplier": 1.5});
    let breaker = json!({
        "failures_to_open": 5, "calls_min": 6, "failure_percent_min": 7, "window": "1m",
        "open": "2s", "probes_max": 1, "probes_to_close": 2, "wave_calls": 3, "wave": "100ms",
        "waves": 4,
    });
    let call = json!({
        "url": "a/{{ input.b }}", "method": "PUT", "headers": {"X-A": "b"}, "body": {"c": [1]},
        "rejected": [404], "answer_max": "64KiB",
    });
    json!({
        "name": "everything", "version": 3, "deadline": "1h", "allow_hosts": ["10.0.0.0/8"],
        "defaults": {
            "timeout": "1s", "retry": retry, "compensation_timeout": "2s",
            "compensation_retry": retry, "breaker": breaker,
        },
        "participants": {
            "plain": "https://plain.example",
            "shop": {
                "url": "https://shop.example", "headers": {"X-A": "b"}, "rejected": [409],
                "answer_max": "1MiB", "breaker": breaker,
            },
        },
        "steps": [
            {"parallel": [{
                "name": "first", "participant": "shop", "action": call, "compensation": call,
                "timeout": "1s", "retry": retry, "compensation_timeout": "2s",
                "compensation_retry": retry, "breaker": breaker,
            }]},
            {"name": "second", "participant": "plain", "pivot": "b"},
            {"name": "third", "retriable": "https://third.example/c"},
        ],
    })
}

/// Every value of a JSON document by its pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_key_of_the_schema_is_taken_by_the_parser() {
    let definition = everything();
    parse(&definition).unwrap();
    validator().validate(&definition).unwrap();
    let mut keys: Vec<String> = Vec::new();
    let schema = schema();
    let objects = schema["$defs"].as_object().unwrap().iter().map(|(_, object)| object);
    for object in objects.chain([&schema]) {
        keys.extend(object["properties"].as_object().unwrap().keys().cloned());
    }
    assert!(keys.len() > 40);
    let text = definition.to_string();
    for key in keys {
        assert!(text.contains(&format!("\"{key}\":")), "`{key}` is not in the test's definition");
    }
}

#[test]
fn every_value_is_read_by_the_parser_and_described_by_the_schema() {
    let definition = everything();
    let mut found = Vec::new();
    pointers(&definition, "", &mut found);
    let validator = validator();
    // What is below the user's own keys or free-form is no matter of the format.
    let is_free = |pointer: &str| pointer.contains("/body");
    for pointer in found.iter().filter(|pointer| !is_free(pointer)) {
        let mut wrong = definition.clone();
        *wrong.pointer_mut(pointer).unwrap() = json!([true]);
        assert!(parse(&wrong).is_err(), "the parser takes [true] at {pointer}");
        assert!(!validator.is_valid(&wrong), "the schema takes [true] at {pointer}");
    }
}

#[test]
fn an_unknown_key_is_refused_by_both_wherever_it_stands() {
    let definition = everything();
    let mut found = Vec::new();
    pointers(&definition, "", &mut found);
    let validator = validator();
    let is_users = |pointer: &str| {
        pointer.contains("/body")
            || pointer.ends_with("/headers")
            || pointer.ends_with("/participants")
    };
    let mut objects = 0;
    for pointer in found.iter().filter(|pointer| !is_users(pointer)) {
        let mut wrong = definition.clone();
        let Some(object) = wrong.pointer_mut(pointer).unwrap().as_object_mut() else { continue };
        object.insert("surprise".to_owned(), json!("x"));
        objects += 1;
        assert!(parse(&wrong).is_err(), "the parser takes a surprise at {pointer:?}");
        assert!(!validator.is_valid(&wrong), "the schema takes a surprise at {pointer:?}");
    }
    assert!(objects > 15, "{objects}");
}

#[test]
fn values_at_their_bounds_are_judged_alike() {
    let with = |key: &str, value: Value| {
        let mut step = json!({"name": "a", "pivot": "https://a.example/a"});
        step[key] = value;
        json!({"name": "test", "steps": [step]})
    };
    let validator = validator();
    for (key, value, is_good) in [
        ("timeout", json!("1m30s"), true),
        ("timeout", json!("1 m"), false),
        ("timeout", json!("s"), false),
        ("timeout", json!(""), false),
        ("timeout", json!(3), false),
        ("retry", json!({"attempts": 1}), true),
        ("retry", json!({"attempts": 0}), false),
        ("retry", json!({"multiplier": 1}), true),
        ("retry", json!({"multiplier": 0.9}), false),
        ("name", json!("Pay"), false),
        ("name", json!("x".repeat(65)), false),
        ("name", json!(""), false),
        ("pivot", json!({"url": "https://a.example/a", "method": "GET"}), false),
        ("pivot", json!({"url": "https://a.example/a", "answer_max": "1MB"}), false),
        ("pivot", json!({"url": "https://a.example/a", "rejected": []}), true),
        ("pivot", json!({"url": "https://a.example/a", "rejected": [500]}), false),
        ("compensation", json!("https://a.example/b"), false),
        ("retriable", json!("https://a.example/b"), false),
        ("parallel", json!([]), false),
    ] {
        let definition = with(key, value);
        assert_eq!(parse(&definition).is_ok(), is_good, "parser: {definition}");
        assert_eq!(validator.is_valid(&definition), is_good, "schema: {definition}");
    }
}

/// YAML as JSON, as an editor reads it.
fn json_of(text: &str) -> Value {
    let mut parser = saphyr_parser::Parser::new_from_str(text);
    let mut anchors = BTreeMap::new();
    loop {
        match parser.next_event().unwrap().unwrap().0 {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return value_of(event, &mut parser, &mut anchors),
        }
    }
}

fn value_of(
    event: Event<'_>,
    parser: &mut saphyr_parser::Parser<'_, saphyr_parser::StrInput<'_>>,
    anchors: &mut BTreeMap<usize, Value>,
) -> Value {
    let next = |parser: &mut saphyr_parser::Parser<'_, _>, anchors: &mut _| match parser
        .next_event()
        .unwrap()
        .unwrap()
        .0
    {
        Event::SequenceEnd | Event::MappingEnd => None,
        event => Some(value_of(event, parser, anchors)),
    };
    let (value, anchor) = match event {
        Event::Alias(anchor) => return anchors[&anchor].clone(),
        Event::Scalar(text, ScalarStyle::Plain, anchor, _) => {
            (serde_json::from_str(&text).unwrap_or_else(|_| json!(text)), anchor)
        }
        Event::Scalar(text, _, anchor, _) => (json!(text), anchor),
        Event::SequenceStart(anchor, _) => {
            let mut items = Vec::new();
            while let Some(item) = next(parser, anchors) {
                items.push(item);
            }
            (Value::Array(items), anchor)
        }
        Event::MappingStart(anchor, _) => {
            let mut fields = serde_json::Map::new();
            while let Some(key) = next(parser, anchors) {
                fields.insert(key.as_str().unwrap().to_owned(), next(parser, anchors).unwrap());
            }
            (Value::Object(fields), anchor)
        }
        other => panic!("{other:?}"),
    };
    anchors.insert(anchor, value.clone());
    value
}

#[test]
fn the_examples_of_the_project_are_valid() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../saga-examples/definitions");
    let read =
        declared::load(&folder, &Options::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<_> = read.iter().map(|one| one.definition.spec().name.as_str()).collect();
    assert_eq!(names, ["book-trip", "place-order"]);
    assert_eq!(read[0].secrets, ["HOTELS_TOKEN", "PAYMENTS_TOKEN"]);
    for (one, wanted) in read.iter().zip(["book-trip.yaml", "place-order.yaml"]) {
        assert!(one.file.ends_with(wanted));
        let text = std::fs::read_to_string(&one.file).unwrap();
        let definition = json_of(&text);
        validator().validate(&definition).unwrap_or_else(|error| panic!("{wanted}: {error}"));
    }
}

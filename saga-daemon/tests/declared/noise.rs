//! No text, however broken, is more than a list of faults.

use proptest::prelude::*;
use saga_daemon::declared::{self, Options};

const TRIP: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../saga-examples/definitions/book-trip.yaml"
));

/// Parses and shows whatever comes of it.
fn survives(text: &str) {
    if let Err(faults) = declared::parse("noise.yaml", text, &Options::default()) {
        assert!(faults.len() > 0);
        let lines = text.lines().count().max(1);
        for fault in faults.iter() {
            assert!(fault.line <= lines + 1, "line {} of {lines}: {fault}", fault.line);
        }
        assert!(!faults.to_string().is_empty());
        serde_json::to_string(&faults).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_definition_with_a_few_characters_changed_is_read_or_refused(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..12_usize, "[a-z0-9{}\\[\\]:&*!|>'\"#%@`,?. \n\té-]{0,6}"),
            1..6,
        ),
    ) {
        let mut text: Vec<char> = TRIP.chars().collect();
        for (at, cut, put) in changes {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text);
        survives(&format!("name: a\nsteps:\n  - name: {text:?}\n    timeout: {text:?}\n    pivot: {{ url: {text:?}, headers: {{ X: {text:?} }} }}\n"));
    }
}

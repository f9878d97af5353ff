//! What is wrong is said with its place, what was expected and the nearest valid spelling.

use saga_daemon::declared::{self, Options};

use crate::support::faults;

/// A definition in which one step or so is replaced.
fn with_steps(steps: &str) -> String {
    format!("name: test\nparticipants:\n  shop: https://shop.example\nsteps:\n{steps}")
}

/// The faults of some steps.
#[track_caller]
fn in_steps(steps: &str) -> String {
    faults(&with_steps(steps))
}

#[track_caller]
fn assert_says(text: &str, wanted: &[&str]) {
    let found = faults(text);
    for part in wanted {
        assert!(found.contains(part), "expected {part:?} in:\n{found}");
    }
}

#[test]
fn a_fault_is_shown_with_its_line_and_a_caret_under_it() {
    let text = "name: test\nparticipants:\n  shop: https://shop.example\nsteps:\n  - name: pay\n    participant: shop\n    pivot: pay\n    tiemout: 3s\n";
    let expected = "\
test.yaml:8:5: a step has no key `tiemout`: expected one of name, participant, action, compensation, pivot, retriable, timeout, retry, compensation_timeout, compensation_retry, breaker
  |
8 |     tiemout: 3s
  |     ^^^^^^^
  = did you mean `timeout`?

1 fault";
    assert_eq!(faults(text), expected);
}

#[test]
fn all_faults_of_a_file_are_found_at_once_in_the_order_of_the_file() {
    let text = "\
nmae: test
version: 0
deadline: 5 min
allow_hosts: [10.0.0.0/99]
participants:
  shop: htps://shop.example
steps:
  - name: Pay Now
    participant: shp
    pivot: pay
    retry: { attempts: many }
  - name: pay
    action: https://x.example/pay
    timeout: 2x
";
    let found = declared::parse("f.yaml", text, &Options::default()).unwrap_err();
    let places: Vec<_> = found.iter().map(|fault| (fault.line, fault.column)).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    assert_eq!(places, sorted);
    let lines: Vec<_> = places.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 6, 8, 9, 11, 13, 13, 14], "{found}");
    let text = found.to_string();
    for part in [
        "f.yaml:1:1: a definition has no key `nmae`",
        "did you mean `name`?",
        "expected a whole number from 1 on, found 0",
        "did you mean `5m`?",
        "\"10.0.0.0/99\" is no host: expected a host such as",
        "the scheme \"htps\" cannot be called",
        "did you mean `pay-now`?",
        "there is no participant `shp`: expected one of shop",
        "did you mean `shop`?",
        "expected a whole number from 1 to 1000000, found the text \"many\"",
        "`action` has no `compensation`",
        "\"2x\" is no time: expected a time such as 500ms",
        "11 faults",
    ] {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

#[test]
fn faults_are_json_for_programs() {
    let found = declared::parse("f.yaml", "name: a\nsteps: []\n", &Options::default()).unwrap_err();
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json[0]["file"], "f.yaml");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&2.into(), &1.into()));
    assert_eq!(json[0]["code"], "saga");
    assert_eq!(json[0]["source"], "steps: []");
    assert_eq!(json.as_array().unwrap().len(), 1);
}

#[test]
fn what_is_no_definition_at_all_is_said_in_one_line() {
    for (text, says) in [
        ("", "the file is empty"),
        ("# only words\n", "the file is empty"),
        ("---\n", "the file is empty"),
        ("~", "the file is empty"),
        ("- a\n- b\n", "expected a mapping with the keys of a definition"),
        ("hello", "expected a mapping with the keys of a definition (name, version"),
        ("name: [", "this is not YAML"),
        ("name: a\n\tsteps: b\n", "this is not YAML"),
        ("name: a\nsteps: !!set [x]\n", "tags are not understood"),
        ("name: &a [*a]\n", "a cycle"),
        ("name: *nobody\n", "this is not YAML"),
    ] {
        assert_says(text, &[says, "test.yaml:"]);
    }
}

#[test]
fn a_second_document_is_refused_where_it_begins() {
    assert_says("name: a\nsteps: []\n---\nname: b\n", &["test.yaml:3:1: a second document begins"]);
}

#[test]
fn a_bomb_of_aliases_deep_nesting_and_a_huge_file_are_refused_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert_says(&bomb, &["too many values, aliases counted as what they stand for"]);
    assert_says(&format!("a: {}", "[".repeat(5_000)), &["test.yaml:1:"]);
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert_says(&deep, &["nested too deeply"]);
    assert_says(
        &"# long\n".repeat(60_000),
        &["the file has 420000 bytes: expected at most 262144"],
    );
}

#[test]
fn an_alias_stands_for_what_it_names() {
    let text = with_steps(
        "  - { name: a, participant: shop, pivot: a, retry: &r { attempts: 7, delay: 1s } }\n  - { name: b, participant: shop, retriable: b, retry: *r }\n",
    );
    let declared = declared::parse("f.yaml", &text, &Options::default()).unwrap();
    let steps = &declared.definition.spec().steps;
    assert_eq!((steps[1].retry.attempts_max, steps[1].retry.delay_ms), (7, 1_000));
}

#[test]
fn keys_that_are_missing_doubled_or_foreign_are_faults() {
    for (steps, says) in [
        ("  - { participant: shop, pivot: a }\n", "this step has no `name`"),
        (
            "  - { name: a, participant: shop }\n",
            "this step does nothing: expected one of `action`, `pivot`, `retriable`",
        ),
        (
            "  - { name: a, participant: shop, pivot: a, retriable: b }\n",
            "`retriable` stands beside another of",
        ),
        (
            "  - { name: a, participant: shop, pivot: a, name: b }\n",
            "the key `name` stands twice: first in line 5",
        ),
        (
            "  - { name: a, participant: shop, pivot: a, compensation: b }\n",
            "`compensation` stands beside `pivot`",
        ),
        (
            "  - { name: a, participant: shop, pivot: a, compensation_timeout: 1s }\n",
            "only an `action` is compensated",
        ),
        (
            "  - { name: a, participant: shop, pivot: a, <<: { timeout: 1s } }\n",
            "say once in `defaults`",
        ),
        ("  - { name: a, participant: shop, pivot: a, 7: b }\n", "expected a key"),
        (
            "  - { name: a, participant: shop, kind: pivot }\n",
            "the kind of a step is the key of its call",
        ),
        ("  - parallel: [{ parallel: [] }]\n", "a group stands alone in the list of steps"),
        ("  - parallel: []\n", "is empty: expected at least one step"),
        ("  - reserve\n", "expected a mapping with the keys of a step"),
        ("  a: b\n", "expected a list of steps, found a mapping"),
    ] {
        let found = in_steps(steps);
        assert!(found.contains(says), "expected {says:?} in:\n{found}");
    }
}

#[test]
fn values_of_the_wrong_type_say_what_was_found() {
    for (value, says) in [
        ("timeout: 3", "found the number 3 without a unit"),
        ("timeout: 3", "did you mean `3s` or `3ms`?"),
        ("timeout: 1.5s", "is no time"),
        ("timeout: 5 seconds", "did you mean `5s`?"),
        ("timeout: 1M", "did you mean `1m`?"),
        ("timeout: [1s]", "found a list"),
        ("timeout:", "found nothing"),
        ("timeout: 0s", "timeout is 0 ms: expected 1 to 3600000"),
        ("timeout: 2h", "timeout is 7200000 ms"),
        ("timeout: 99999999999999d", "is no time"),
        ("retry: 3", "expected a mapping with the keys of a retry"),
        ("retry: { attempts: 0 }", "expected a whole number from 1 to 1000000, found 0"),
        ("retry: { attempts: 1.5 }", "found 1.5"),
        ("retry: { multiplier: 0.5 }", "expected a number from 1 to 100"),
        ("retry: { max_attempts: 3 }", "a retry has no key `max_attempts`"),
        ("breaker: { failure_percent_min: 101 }", "from 0 to 100, found 101"),
        ("breaker: { window: 0ms }", "breaker window_ms is 0"),
    ] {
        let indented = format!("  - name: a\n    participant: shop\n    pivot: a\n    {value}\n");
        let found = in_steps(&indented);
        assert!(
            found.contains(says) && found.contains("test.yaml:8:"),
            "{value}: {says:?} in:\n{found}"
        );
    }
}

#[test]
fn steps_in_the_wrong_order_are_refused_where_they_stand() {
    let step = |name: &str, call: &str| {
        let rest = if call == "action" { ", compensation: c" } else { "" };
        format!("  - {{ name: {name}, participant: shop, {call}: x{rest} }}\n")
    };
    for (kinds, says) in [
        (["pivot", "action"], "step \"b\" is compensatable and comes after pivot \"a\""),
        (["retriable", "action"], "step \"b\" is compensatable and comes after retriable \"a\""),
        (["pivot", "pivot"], "step \"b\" is pivot and comes after pivot \"a\""),
        (["retriable", "pivot"], "step \"b\" is pivot and comes after retriable \"a\""),
    ] {
        let found = in_steps(&(step("a", kinds[0]) + &step("b", kinds[1])));
        assert!(found.contains(says) && found.contains("test.yaml:6:35:"), "{found}");
        assert!(found.ends_with("1 fault"), "{found}");
    }
    let twice = in_steps(&(step("a", "action") + &step("a", "pivot")));
    assert!(twice.contains("test.yaml:6:13: step \"a\" stands 2 times"), "{twice}");
    let mixed = "  - parallel:\n      - { name: a, participant: shop, action: a, compensation: b }\n      - { name: b, participant: shop, pivot: c }\n";
    assert!(in_steps(mixed).contains("mixes kinds or holds a pivot"));
}

#[test]
fn breakers_that_differ_within_a_participant_are_refused() {
    let found = in_steps(
        "  - { name: a, participant: shop, pivot: a }\n  - { name: b, participant: shop, retriable: b, breaker: { waves: 2 } }\n",
    );
    assert!(
        found.contains("test.yaml:6:49: participant \"shop\" has different breaker policies"),
        "{found}"
    );
}

#[test]
fn expressions_that_read_what_is_not_there_are_refused() {
    for (expression, says) in [
        ("inptu.order", "did you mean `input`?"),
        ("range(3)", "`range(..)` is a call"),
        ("input.keys()", "`keys(..)` is a call"),
        ("input.a | uper", "did you mean `upper`?"),
        ("input.a is defned", "there is no test `defned`"),
        ("input.a +", "is no expression"),
        ("", "an expression is empty"),
        ("input['a'", "is no expression"),
        ("outputs.frist.id", "did you mean `first`?"),
        ("outputs.first-step.id", "write `_` for each `-`"),
        ("outputs['first-step'].id", "`outputs` is read by the name of a step"),
        ("outputs", "`outputs` is read by the name of a step"),
        ("outputs.last.id", "`second` reads the output of `last`, which runs later"),
        ("outputs.last.id", "they wait for each other, a cycle: second -> last -> second"),
        ("outputs.second.id", "which is this very step"),
        ("output.id", "an action has no output yet"),
    ] {
        let steps = format!(
            "  - {{ name: first, participant: shop, action: a, compensation: b }}\n  - {{ name: first-step, participant: shop, action: a, compensation: b }}\n  - name: second\n    participant: shop\n    pivot:\n      url: a\n      body: {{ x: \"{{{{ {expression} }}}}\" }}\n  - {{ name: last, participant: shop, retriable: \"x/{{{{ outputs.second.id }}}}\" }}\n"
        );
        let found = declared::parse("test.yaml", &with_steps(&steps), &Options::default());
        let found = found.map(|_| expression).unwrap_err().to_string();
        assert!(found.contains(says), "{expression}: expected {says:?} in:\n{found}");
        assert!(found.contains("test.yaml:11:"), "{expression}:\n{found}");
    }
}

#[test]
fn steps_that_run_at_the_same_time_cannot_read_each_other() {
    let found = in_steps(
        "  - parallel:\n      - { name: a, participant: shop, action: x, compensation: y }\n      - { name: b, participant: shop, action: \"x/{{ outputs.a.id }}\", compensation: y }\n",
    );
    assert!(found.contains("`b` reads the output of `a`, which runs at the same time"), "{found}");
}

#[test]
fn a_compensation_must_bear_an_action_that_never_answered() {
    let step = |compensation: &str| {
        in_steps(&format!(
            "  - {{ name: a, participant: shop, action: x, compensation: \"{compensation}\" }}\n"
        ))
    };
    for read in ["output.id", "outputs.a.id"] {
        let found = step(&format!("x/{{{{ {read} }}}}"));
        assert!(found.contains("an action that may never have answered"), "{found}");
    }
    let text = with_steps(
        "  - { name: a, participant: shop, action: x, compensation: \"x/{{ output.id | default('none') }}\" }\n",
    );
    declared::parse("f.yaml", &text, &Options::default()).unwrap();
}

#[test]
fn headers_of_the_connection_the_protocol_and_open_credentials_are_refused() {
    for (header, says) in [
        ("Host: a", "`host` belongs to the connection"),
        ("content-length: \"3\"", "`content-length` belongs to the connection"),
        ("Transfer-Encoding: chunked", "`transfer-encoding` belongs"),
        ("CONNECTION: close", "`connection` belongs"),
        ("Idempotency-Key: a", "`idempotency-key` belongs to the participant protocol"),
        ("X-Saga-ID: a", "belongs to the participant protocol"),
        ("Authorization: Bearer abc", "`authorization` is a credential"),
        ("Authorization: \"Bearer {{ input.token }}\"", "`authorization` is a credential"),
        ("Cookie: a=b", "`cookie` is a credential"),
        ("Authorization: Bearer secrets://TOKEN", "did you mean `secret://`?"),
        ("X-A: secret://token", "\"token\" is no name of a secret"),
        ("X-A: secret://../../etc/passwd", "is no name of a secret"),
        ("X-A: \"a\\r\\nX-B: c\"", "holds what a header cannot carry"),
        ("\"X A\": b", "\"X A\" is no name of a header"),
        ("X-A: 7", "put it in quotes: \"7\""),
        ("X-A: a, x-a: b", "`x-a` stands twice"),
    ] {
        let found = in_steps(&format!(
            "  - name: a\n    participant: shop\n    pivot: {{ url: a, headers: {{ {header} }} }}\n"
        ));
        assert!(found.contains(says), "{header}: expected {says:?} in:\n{found}");
    }
}

#[test]
fn secrets_stand_in_headers_and_nowhere_else() {
    for call in ["url: \"a/secret://TOKEN\"", "url: a, body: secret://TOKEN"] {
        let found =
            in_steps(&format!("  - {{ name: a, participant: shop, pivot: {{ {call} }} }}\n"));
        assert!(found.contains("a secret may stand in the value of a header"), "{found}");
    }
    assert_says(
        "name: a\nparticipants: { b: \"https://secret://TOKEN\" }\nsteps: []\n",
        &["no secret in scheme"],
    );
}

#[test]
fn statuses_that_leave_the_outcome_open_cannot_reject() {
    for (status, says) in [
        ("429", "429 says that the outcome is unknown or that it is too early"),
        ("500", "expected a whole number from 400 to 499"),
        ("200", "expected a whole number from 400 to 499"),
    ] {
        let found = in_steps(&format!(
            "  - {{ name: a, participant: shop, pivot: {{ url: a, rejected: [409, {status}] }} }}\n"
        ));
        assert!(found.contains(says), "{found}");
    }
}

#[test]
fn messages_do_not_move_the_cursor_of_who_reads_them() {
    let text = format!("name: a\nsteps: [] # \u{1b}[2J\n\"{}\u{7}\": 1\n", "k".repeat(500));
    let shown = faults(&text);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

#[test]
fn a_password_in_a_file_is_not_repeated_in_its_fault() {
    for url in ["https://ann:hunter2@shop.example", "https://ann:hunter2@shop example"] {
        let found = faults(&format!("name: a\nparticipants:\n  b: {url}\nsteps: []\n"));
        assert!(found.contains("test.yaml:3:6: ") && !found.contains("hunter2"), "{found}");
    }
    let found = in_steps(
        "  - name: a\n    participant: shop\n    pivot:\n      url: a\n      headers:\n        { Authorization: Bearer hunter2, Host: b }\n",
    );
    assert!(found.contains("test.yaml:10:26: `authorization` is a credential"), "{found}");
    assert!(found.contains("`host` belongs"), "{found}");
    assert!(!found.contains("hunter2"), "no other fault of the line shows it: {found}");
}

#[test]
fn a_server_is_never_taken_from_a_payload() {
    for url in [
        "https://{{ input.host }}/a",
        "https://shop.example:{{ input.port }}/a",
        "https://a{{ input.host }}.example",
        "{{ input.scheme }}://shop.example/a",
        "{{ input.url }}",
        "//{{ input.host }}/a",
    ] {
        let found = faults(&format!("name: a\nsteps:\n  - name: a\n    pivot: \"{url}\"\n"));
        let says = ["a server is fixed", "is no full URL"];
        assert!(says.iter().any(|says| found.contains(says)), "{url}: {found}");
    }
}

#[test]
fn an_expression_without_quotes_is_understood_as_what_was_meant() {
    for call in [
        "pivot: {{ input.url }}",
        "pivot: { url: a/{{ input.b }} }",
        "pivot: { url: {{ input.b }} }",
        "pivot: { url: a, body: {{ input.b }} }",
        "pivot: { url: a, body: { b: {{ input.b }} } }",
        "pivot: { url: a, headers: { X: {{ input.b }} } }",
        "pivot: pay\n    timeout: {{ input.b }}",
    ] {
        let found = in_steps(&format!("  - name: a\n    participant: shop\n    {call}\n"));
        assert!(
            found.contains("put a text with an expression in quotes: \"{{ .. }}\""),
            "{call}:\n{found}"
        );
    }
}

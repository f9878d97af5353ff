//! What is sent, and what the answers mean.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use saga_core::{Failure, Op, Payload};
use saga_daemon::declared::{Declared, Options};
use serde_json::json;

use crate::support::{Given, Service, call, declare, own_headers};

/// A definition of one compensatable step at a service on loopback.
fn one_step(service: &Service, action: &str, compensation: &str) -> Declared {
    let url = &service.url;
    let text = format!(
        "name: test\nallow_hosts: [127.0.0.1]\nparticipants: {{ shop: \"{url}/v1\" }}\nsteps:\n  - {{ name: before, participant: shop, action: a, compensation: b }}\n  - name: take-it\n    participant: shop\n    action: {action}\n    compensation: {compensation}\n"
    );
    declare(&text, &Options::default())
}

fn given() -> Given<'static> {
    Given {
        input: json!({"order": "o-1", "count": 3, "price": 1.5, "ok": true, "none": null, "tags": ["a"]}),
        ..Given::default()
    }
}

/// Makes the action of the second step.
async fn act(declared: &Declared, given: Given<'_>) -> Result<Payload, Failure> {
    call(&declared.definition, 1, given).await
}

async fn ok_service() -> Service {
    Service::start(|_| (200, br#"{"id": 7}"#.to_vec())).await
}

#[tokio::test]
async fn without_a_mapping_the_call_is_that_of_the_protocol() {
    let service = ok_service().await;
    let declared = one_step(&service, "take", "give");
    act(&declared, Given { outputs: &[("before", json!(1))], ..given() }).await.unwrap();
    let seen = service.taken().remove(0);
    assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("POST", "/v1/take"));
    assert_eq!(seen.body["step"], "take-it");
    assert_eq!(seen.body["outputs"], json!({"before": 1}));
    assert_eq!(seen.headers["x-saga-op"], "action");
    assert!(own_headers(&seen.headers).is_empty());
}

#[tokio::test]
async fn path_query_headers_and_body_are_filled_in_with_the_types_of_the_values() {
    let service = ok_service().await;
    let declared = one_step(
        &service,
        r#"
      url: "orders/{{ input.order }}/{{ input.count }}?ok={{ input.ok }}&who={{ outputs.before.who }}"
      method: PATCH
      headers: { X-Order: "no. {{ input.order | upper }}" }
      body:
        fixed: [1, two, 3.5, true, null, "4"]
        typed: "{{ input.count }}"
        whole: "{{ input }}"
        sum: "{{ input.count * 2 + outputs.before.more }}"
        text: "order {{ input.order }} of {{ input.count }}"
        choice: "{{ 'many' if input.count > 2 else 'few' }}"
        missing: "{{ input.nothing.here | default('-') }}"
        none: "{{ input.none }}""#,
        "give",
    );
    let outputs = [("before", json!({"who": "Zoë & co", "more": 1}))];
    let output = act(&declared, Given { outputs: &outputs, ..given() }).await.unwrap();
    assert_eq!(output.as_json(), r#"{"id": 7}"#);
    let seen = service.taken().remove(0);
    assert_eq!(seen.method.as_str(), "PATCH");
    assert_eq!(seen.uri.to_string(), "/v1/orders/o-1/3?ok=true&who=Zo%C3%AB%20%26%20co");
    assert_eq!(
        own_headers(&seen.headers).into_iter().collect::<Vec<_>>(),
        [("x-order".to_owned(), "no. O-1".to_owned())]
    );
    let body = json!({
        "fixed": [1, "two", 3.5, true, null, "4"], "typed": 3, "whole": given().input, "sum": 7,
        "text": "order o-1 of 3", "choice": "many", "missing": "-", "none": null,
    });
    assert_eq!(seen.body, body);
}

#[tokio::test]
async fn a_compensation_reads_its_own_output_or_null_where_nobody_knows() {
    let service = ok_service().await;
    let declared = one_step(
        &service,
        "take",
        r#"
      url: "taken/{{ output.id | default('unknown') }}?key={{ idempotency_key }}"
      method: DELETE
      body: { id: "{{ output.id }}", same: "{{ outputs.take_it.id }}", earlier: "{{ outputs.before }}" }"#,
    );
    let known = [("before", json!(1)), ("take-it", json!({"id": 9}))];
    let undo = |outputs| Given { op: Op::Compensation, outputs, ..given() };
    act(&declared, undo(&known)).await.unwrap();
    act(&declared, undo(&known[..1])).await.unwrap();
    let seen = service.taken();
    assert_eq!(seen[0].body, json!({"id": 9, "same": 9, "earlier": 1}));
    assert_eq!(seen[1].body, json!({"id": null, "same": null, "earlier": 1}));
    assert_eq!(seen[0].uri.path(), "/v1/taken/9");
    assert_eq!(seen[1].uri.path(), "/v1/taken/unknown");
    assert!(seen[1].uri.query().unwrap().ends_with("%3Atake-it%3Acompensation"));
}

#[tokio::test]
async fn a_request_that_cannot_be_made_is_a_rejection_and_nothing_is_sent() {
    let service = ok_service().await;
    for (action, says) in [
        (r#""a/{{ input.nothing }}""#, "`input.nothing` is not there"),
        (r#""a/{{ input.none }}""#, "`input.none` is null"),
        (r#""a/{{ input.tags }}""#, "is a list or a mapping"),
        (r#""a/{{ '' }}""#, "is empty"),
        (r#""a/{{ '..' }}/b""#, "`.` or `..`"),
        (r#""a/.{{ '.' }}/b""#, "`.` or `..`"),
        (r#"{ url: a, headers: { X-A: "{{ 'a\r\nX-B: c' }}" } }"#, "what a header cannot carry"),
        (r#"{ url: a, headers: { X-A: "{{ 'ä' }}" } }"#, "what a header cannot carry"),
        (r#"{ url: a, headers: { X-A: "{{ 'a' * 9000 }}" } }"#, "what a header cannot carry"),
        (r#"{ url: a, body: "{{ input.nothing }}" }"#, "`input.nothing` is not there"),
        (r#"{ url: a, body: "{{ input.order + 1 }}" }"#, "`input.order + 1`"),
        (
            r#"{ url: a, body: "{{ ('a' * 100000) | length and ('a' * 5000000) }}" }"#,
            "the request cannot be made",
        ),
    ] {
        let declared = one_step(&service, action, "give");
        let reason = match act(&declared, given()).await {
            Err(Failure::Rejected(rejection)) => rejection.reason,
            other => panic!("{action}: expected a rejection, got {other:?}"),
        };
        assert!(reason.starts_with("the request cannot be made: "), "{reason}");
        assert!(reason.contains(says), "{action}: expected {says:?} in {reason}");
    }
    assert_eq!(service.taken().len(), 0);
}

#[tokio::test]
async fn statuses_mean_what_the_definition_says() {
    let statuses = [(404, true), (409, false), (422, false)];
    for (status, is_rejected) in statuses {
        let service = Service::start(move |_| (status, b"no".to_vec())).await;
        let declared = one_step(&service, "{ url: a, rejected: [404] }", "give");
        let failure = act(&declared, given()).await.unwrap_err();
        assert_eq!(matches!(failure, Failure::Rejected(_)), is_rejected, "{status}");
    }
}

#[tokio::test]
async fn an_answer_over_the_bound_leaves_the_outcome_unknown() {
    let service = Service::start(|_| (200, vec![b' '; 2_000])).await;
    let declared = one_step(&service, "{ url: a, answer_max: 1KiB }", "give");
    let failure = act(&declared, given()).await.unwrap_err();
    assert!(failure.to_string().contains("the answer is longer than 1024 bytes"), "{failure}");
}

#[tokio::test]
async fn a_payload_cannot_smuggle_an_expression_or_a_secret_in() {
    let service = ok_service().await;
    let declared = one_step(
        &service,
        r#"{ url: a, headers: { X-A: "{{ input.order }}" }, body: "{{ input.order }} {{ input.count }}" }"#,
        "give",
    );
    for word in ["secret://TOKEN", "{{ input.count }}"] {
        let input = json!({"order": word, "count": 3});
        act(&declared, Given { input, ..Given::default() }).await.unwrap();
        let seen = service.taken().remove(0);
        assert_eq!(seen.headers["x-a"], word);
        assert_eq!(seen.body, json!(format!("{word} 3")));
    }
}

/// Texts that try: dots, slashes, escapes, line breaks, signs of URLs and of other alphabets.
fn payload() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "..",
        ".",
        "%2e%2e",
        "/",
        "\\",
        "//evil.example",
        "?",
        "#",
        "&x=1",
        "=",
        "%2f",
        "%",
        "@",
        ":80",
        "\r\n",
        "\r\nX-Evil: 1",
        "\0",
        ";",
        "\u{2028}",
        "é",
        "𝄞",
        "http://evil.example/",
        " ",
        "a",
        "0",
        "secret://TOKEN",
        "{{ input }}",
    ]);
    prop_oneof![
        prop::collection::vec(nasty, 0..6).prop_map(|parts| parts.concat()),
        any::<String>(),
    ]
}

#[test]
fn no_payload_alters_the_host_the_depth_of_the_path_or_the_number_of_headers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let service = runtime.block_on(ok_service());
    let declared = one_step(
        &service,
        r#"{ url: "p/{{ input.a }}/x{{ input.b }}y?q={{ input.c }}", headers: { X-A: "{{ input.d }}" }, body: { e: "{{ input.e }}", f: "<{{ input.a }}>" } }"#,
        "give",
    );
    let strategy = [payload(), payload(), payload(), payload(), payload()];
    let mut sent = 0;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..400 {
        let [a, b, c, d, e] = strategy.new_tree(&mut runner).unwrap().current();
        let input = json!({"a": a, "b": b, "c": c, "d": d, "e": e});
        let answer = runtime.block_on(act(&declared, Given { input, ..Given::default() }));
        let mut seen = service.taken();
        if let Err(failure) = answer {
            let text = failure.to_string();
            assert!(text.contains("the request cannot be made"), "{text}");
            assert_eq!(seen.len(), 0);
            continue;
        }
        sent += 1;
        let seen = seen.pop().unwrap();
        let host = service.url.strip_prefix("http://").unwrap();
        assert_eq!(seen.headers["host"], host);
        let parts: Vec<_> = seen.uri.path().split('/').collect();
        assert_eq!(parts.len(), 5, "{}", seen.uri);
        assert_eq!((parts[1], parts[2]), ("v1", "p"));
        assert!(parts[4].starts_with('x') && parts[4].ends_with('y'));
        let query = seen.uri.query().unwrap();
        assert!(
            query.starts_with("q=") && query.matches(['=', '&', '#', '?']).count() == 1,
            "{query}"
        );
        assert_eq!(own_headers(&seen.headers).keys().collect::<Vec<_>>(), ["x-a"]);
        assert_eq!(seen.body, json!({"e": e, "f": format!("<{a}>")}));
        assert_eq!(seen.headers.len(), 10, "{:?}", seen.headers);
    }
    assert!(sent > 100, "only {sent} of 400 could be sent");
}

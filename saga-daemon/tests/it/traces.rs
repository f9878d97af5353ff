//! Telemetry as a real collector receives it from the real program.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::collector::{Collector, Participants, as_text, attribute};
use crate::process::{BINARY, Served, folder, program, stderr, stdout};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Reserve, charge (whose first call hangs), ship (the pivot, refused).
fn order(participants: &Participants, folder: &Path) -> String {
    let yaml = format!(
        "name: order\nallow_hosts: [127.0.0.1]\nparticipants:\n  shop: {}\nsteps:\n  \
         - name: reserve\n    participant: shop\n    action: reserve\n    compensation: release\n  \
         - name: charge\n    participant: shop\n    action: held\n    compensation: refund\n    timeout: 50s\n  \
         - name: ship\n    participant: shop\n    pivot: refused\n",
        participants.url
    );
    let definitions = folder.join("definitions");
    std::fs::create_dir_all(&definitions).unwrap();
    std::fs::write(definitions.join("order.yaml"), yaml).unwrap();
    definitions.to_str().unwrap().to_owned()
}

fn serve(folder: &Path, definitions: &str, collector: &str, more: &[&str]) -> Served {
    let flags = ["--definitions", definitions, "--otlp-endpoint", collector];
    let flags = [&flags[..], &["--otlp-headers", "x-tenant=the%20shop"], more].concat();
    Served::of(Path::new(BINARY), folder, &flags)
}

/// Starts an order as a caller with a trace of its own would.
fn start(served: &Served, traceparent: Option<&str>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(std::iter::empty());
    let request = client.build().unwrap().post(format!("{}/v1/sagas/order", served.url));
    let request = request.header("content-type", "application/json").body("{\"order\": 7}");
    let request = match traceparent {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
    let view: serde_json::Value = serde_json::from_str(&answer).unwrap();
    view["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_trace(spans: &[Span], trace: &str) -> Vec<Span> {
    spans.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect()
}

/// The attempts below a saga: name, number, outcome and cause, in the order of their start.
fn tree(spans: &[Span], root: &Span) -> Vec<String> {
    let mut below: Vec<_> =
        spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    below.sort_by_key(|span| span.start_time_unix_nano);
    let line = |span: &&Span| {
        let told = ["attempt", "outcome", "cause"].map(|key| attribute(span, key));
        format!("{} {}", span.name, told.join(" ")).trim_end().to_owned()
    };
    below.iter().map(line).collect()
}

fn root(spans: &[Span]) -> Option<&Span> {
    spans.iter().find(|span| span.name == "saga order")
}

#[test]
fn a_saga_whose_worker_is_killed_is_one_trace_with_every_attempt() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, shop) =
        runtime.block_on(async { (Collector::start().await, Participants::start().await) });
    let folder = folder();
    let definitions = order(&shop, folder.path());
    let first = serve(folder.path(), &definitions, &collector.url, &["--worker-name", "first"]);
    let id = start(&first, Some(&format!("00-{TRACE}-{CALLER}-01")));
    shop.until_called("held");
    first.signal("KILL");
    first.code();
    let second = serve(folder.path(), &definitions, &collector.url, &["--worker-name", "second"]);
    let ended = second.run(&["get", &id, "--wait", "55s"]);
    assert_eq!(ended.status.code(), Some(10), "{}", stdout(&ended));
    let spans = collector.spans_once(|spans| spans.len() >= 7 && root(spans).is_some());
    assert_eq!(of_trace(&spans, TRACE).len(), spans.len(), "all are of the caller's trace");
    let saga = root(&spans).unwrap();
    assert_eq!(hex(&saga.parent_span_id), CALLER);
    assert_eq!(
        tree(&spans, saga),
        [
            "execute reserve 1 processed",
            "execute charge 1 unknown worker_lost",
            "execute charge 2 processed",
            "execute ship 1 rejected",
            "compensate charge 1 processed",
            "compensate reserve 1 processed",
        ]
    );
    assert_the_saga_is_told(saga, &id);
    assert_participants_were_told(&spans, &shop);
    let sources = collector.sources.lock().unwrap().clone();
    for source in [("service.name", "saga-worker"), ("x-tenant", "the shop")] {
        assert!(sources.contains(&(source.0.into(), source.1.into())), "{source:?}: {sources:?}");
    }
}

/// What the span of the saga says of itself.
fn assert_the_saga_is_told(saga: &Span, id: &str) {
    let told = ["saga.id", "saga.name", "saga.version", "saga.status", "worker"];
    let told = told.map(|key| attribute(saga, key));
    assert_eq!(told, [id, "order", "1", "compensated", "second"]);
    let events: Vec<_> = saga.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["worker_lost", "retry_scheduled", "recovery_began"]);
    let text = saga.events[2].attributes.iter().map(as_text).collect::<Vec<_>>().join(" ");
    assert_eq!(text, "backward recovery began: step ship was rejected");
    assert!(saga.end_time_unix_nano >= saga.start_time_unix_nano);
}

/// Each participant was told the span of the attempt that called it, the lost one included.
fn assert_participants_were_told(spans: &[Span], shop: &Participants) {
    let mut attempts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sorted: Vec<_> = spans.iter().collect();
    sorted.sort_by_key(|span| span.start_time_unix_nano);
    for span in sorted {
        let context = format!("00-{TRACE}-{}-01", hex(&span.span_id));
        attempts.entry(span.name.clone()).or_default().push(context);
    }
    for (call, span) in [
        ("reserve", "execute reserve"),
        ("held", "execute charge"),
        ("refused", "execute ship"),
        ("refund", "compensate charge"),
        ("release", "compensate reserve"),
    ] {
        assert_eq!(shop.told(call), attempts[span], "{call}");
    }
    let charge = |name: &str, number: &str| {
        let found = spans.iter().find(|s| s.name == name && attribute(s, "attempt") == number);
        found.unwrap()
    };
    let again = charge("execute charge", "2");
    assert_eq!(again.links[0].span_id, charge("execute charge", "1").span_id);
    let undone = charge("compensate charge", "1");
    assert_eq!(undone.links[0].span_id, again.span_id);
    assert_eq!(attribute(undone, "saga.step.type"), "compensate");
    assert_eq!(attribute(undone, "saga.step.id"), "charge");
    let refused = charge("execute ship", "1");
    assert!(refused.status.as_ref().unwrap().message.contains("no courier today"));
}

#[test]
fn a_trace_is_recorded_when_the_caller_or_the_ratio_says_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, shop) =
        runtime.block_on(async { (Collector::start().await, Participants::start().await) });
    let folder = folder();
    // The first call of `held` waits for ever; here nobody is to wait.
    let definitions = order(&shop, folder.path());
    let yaml = Path::new(&definitions).join("order.yaml");
    let text = std::fs::read_to_string(&yaml).unwrap().replace("action: held", "action: charge");
    std::fs::write(&yaml, text).unwrap();
    let served = serve(
        folder.path(),
        &definitions,
        &collector.url,
        &["--otlp-ratio", "0", "--otlp-interval", "100ms"],
    );
    let silent = start(&served, Some(&format!("00-{TRACE}-{CALLER}-00")));
    let left_out = start(&served, None);
    let loud = "11111111111111111111111111111111";
    let recorded = start(&served, Some(&format!("00-{loud}-{CALLER}-01")));
    for id in [&silent, &left_out, &recorded] {
        assert_eq!(served.run(&["get", id, "--wait", "55s"]).status.code(), Some(10));
    }
    for metric in [
        "saga.attempt.duration",
        "saga.verdict.duration",
        "saga.http.request.duration",
        "saga.sagas",
        "saga.ready",
        "saga.driven.max",
    ] {
        collector.until_metric(metric);
    }
    // What is sent at the end comes after everything else.
    served.signal("TERM");
    assert_eq!(served.code(), Some(0));
    let spans = collector.spans_once(|spans| root(spans).is_some());
    assert_eq!(of_trace(&spans, loud).len(), spans.len());
    assert_eq!(spans.len(), 6, "the saga, three actions, two compensations");
    let flags: Vec<_> = shop.told("reserve").iter().map(|told| told[53..].to_owned()).collect();
    assert_eq!(flags.iter().filter(|flag| *flag == "01").count(), 1, "{flags:?}");
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_up() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shop = runtime.block_on(Participants::start());
    let folder = folder();
    let definitions = order(&shop, folder.path());
    let yaml = Path::new(&definitions).join("order.yaml");
    let text = std::fs::read_to_string(&yaml).unwrap().replace("action: held", "action: charge");
    std::fs::write(&yaml, text).unwrap();
    // A port that takes connections and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let served = serve(folder.path(), &definitions, &url, &["--otlp-interval", "100ms"]);
    for _ in 0..20 {
        let ended = served.run(&["start", "order", "{}", "--wait", "30s"]);
        assert_eq!(ended.status.code(), Some(10), "{} {}", stdout(&ended), stderr(&ended));
    }
    served.signal("TERM");
    let begun = Instant::now();
    assert_eq!(served.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_stuck_saga_is_logged_with_its_id_and_leads_to_a_command_that_ends_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shop = runtime.block_on(Participants::start());
    let folder = folder();
    let definitions = order(&shop, folder.path());
    let yaml = format!(
        "name: order\nallow_hosts: [127.0.0.1]\nparticipants:\n  shop: {}\nsteps:\n  \
         - name: pay\n    participant: shop\n    pivot: broken\n    retry: {{ attempts: 1 }}\n",
        shop.url
    );
    std::fs::write(Path::new(&definitions).join("order.yaml"), yaml).unwrap();
    let flags = ["--definitions", &definitions, "--log-format", "json"];
    let nowhere = ["--otlp-endpoint", "http://127.0.0.1:9"];
    let flags = [&flags[..], &nowhere, &["--otlp-headers", "authorization=hush-hush"]].concat();
    let served = Served::of(Path::new(BINARY), folder.path(), &flags);
    let id = start(&served, None);
    served.until_logged("saga stuck");
    let log = served.log();
    let line = log.lines().find(|line| line.contains("saga stuck")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["saga_id"], &line["reason"]), (&id.clone().into(), &"pivot_unknown".into()));
    assert!(!log.contains("hush-hush"), "{log}");
    let shown = stdout(&served.run(&["get", &id]));
    for part in ["Ways out", &format!("idempotency key {id}:pay:action"), "--no-effect"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let processed = |line: &&str| line.contains("saga-worker skip") && line.contains("--processed");
    let command = shown.lines().find(processed).unwrap().trim();
    let words = command.split(' ').skip(1).map(|word| word.replace('\'', ""));
    let given = program(Path::new(BINARY)).args(words).output().unwrap();
    assert_eq!(given.status.code(), Some(0), "{command}: {}", stderr(&given));
    assert_eq!(served.run(&["get", &id, "--wait", "30s"]).status.code(), Some(0));
    for (listing, part) in [("workers", "order v1"), ("breakers", "shop")] {
        let listed = stdout(&served.run(&[listing]));
        assert!(listed.contains(part), "{listed}");
    }
}

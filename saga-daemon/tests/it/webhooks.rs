//! Webhooks, to real receivers over HTTP.

mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use saga_core::Store;
use saga_daemon::declared::SecretSource;
use saga_daemon::outbound::AllowHosts;
use saga_daemon::{Webhook, Webhooks};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use self::receiver::Receiver;
use crate::process::{Served, program};
use crate::support::{Answer, PATIENCE, World, memory};

const KEY: &str = "a-key-of-the-shop-3f81";

fn loopback() -> AllowHosts {
    AllowHosts::default().and(["127.0.0.1".parse().unwrap()])
}

fn webhooks(hooks: Vec<Webhook>) -> Webhooks {
    let secrets = SecretSource::with_environment(None, |_| Some(KEY.to_owned()));
    Webhooks::new(hooks, secrets, loopback()).unwrap()
}

/// A daemon whose webhooks have begun.
async fn world(hooks: Vec<Webhook>) -> World {
    let world = World::with(memory(), |builder| builder.webhooks(webhooks(hooks))).await;
    until(&world, |hooks| hooks.iter().all(|hook| !hook["cursor"].is_null())).await;
    world
}

async fn until(world: &World, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = world.api.get("/v1/webhooks").await;
        let hooks = listed.body["webhooks"].as_array().unwrap().clone();
        if holds(&hooks) {
            return hooks;
        }
        assert!(Instant::now() < deadline, "never so: {hooks:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn give(world: &World, path: &str, mut body: Value) -> Answer {
    body["reason"] = json!("a test");
    world.api.post(&format!("/v1/webhooks/{path}"), &body).await
}

/// HMAC-SHA256, from its definition.
fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        key.iter().zip(&mut block).for_each(|(key, block)| *block ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    let digits: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        let digit =
            |at: usize| if at <= chunk.len() { digits[bits >> (18 - 6 * at) & 63] } else { '=' };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[tokio::test]
async fn verdicts_and_stuck_sagas_are_delivered_as_signed_cloud_events() {
    let receiver = Receiver::default();
    let mut hook = Webhook::new("shop", receiver.serve().await);
    hook.secrets = vec!["NEW".to_owned(), "OLD".to_owned()];
    let world = world(vec![hook]).await;
    let ids = [
        world.start(1, "visa").await,
        world.start(2, "declined").await,
        world.start(3, "broken").await,
    ];
    receiver.until(3).await;
    let mut events = receiver.events();
    events.sort();
    let words: Vec<_> = events.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["compensated", "completed", "stuck"]);
    let of = |word: &str| {
        let got = receiver.got();
        got.into_iter().find(|(_, body)| body.contains(&format!(".{word}\""))).unwrap()
    };
    let (headers, body) = of("compensated");
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["subject"], ids[1]);
    assert_eq!(event["source"], format!("/v1/sagas/{}", ids[1]));
    assert_eq!(event["data"]["status"], "compensated");
    assert_eq!(event["data"]["events"][1]["event"], "saga_ended");
    assert_eq!(event["id"], format!("{}.{}", ids[1], event["data"]["seq"]));
    assert_eq!(event["id"], headers["webhook-id"]);
    let signed = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
    let signature = format!("v1,{}", base64(&hmac(KEY.as_bytes(), &signed)));
    assert_eq!(headers["webhook-signature"], format!("{signature} {signature}"));
    let shown = world.api.get("/v1/webhooks").await;
    assert!(!shown.raw.contains(KEY) && !shown.raw.contains("hush"), "{}", shown.raw);
}

#[tokio::test]
async fn a_webhook_is_told_only_of_what_it_wants() {
    let (picky, deaf) = (Receiver::default(), Receiver::default());
    let mut one = Webhook::new("picky", picky.serve().await);
    one.events = [saga_core::Status::Compensated].into();
    let mut other = Webhook::new("other", deaf.serve().await);
    other.definitions = ["another-definition".to_owned()].into();
    let world = world(vec![one, other]).await;
    for (order, card) in [(1, "visa"), (2, "declined"), (3, "visa"), (4, "declined")] {
        let id = world.start(order, card).await;
        world.until(&id, if card == "visa" { "completed" } else { "compensated" }).await;
    }
    picky.until(2).await;
    let words: Vec<_> = picky.events().into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["compensated", "compensated"]);
    assert!(deaf.got().is_empty());
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_sent_again_under_its_id_and_holds_nobody_else_up() {
    let (lame, sound) = (Receiver::default(), Receiver::default());
    // A redirect is not followed: it would lead past the guard.
    lame.answer(&[(500, ""), (302, "/elsewhere"), (429, "")]);
    let hooks =
        vec![Webhook::new("lame", lame.serve().await), Webhook::new("sound", sound.serve().await)];
    let world = world(hooks).await;
    world.start(1, "visa").await;
    sound.until(1).await;
    lame.until(4).await;
    let ids: Vec<_> =
        lame.got().into_iter().map(|(headers, _)| headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let hooks = until(&world, |hooks| hooks[0]["delivered"] == 1).await;
    assert_eq!((&hooks[0]["failed"], &hooks[0]["lost"]), (&json!(3), &json!(0)));
    assert_eq!((&hooks[0]["waiting"], &hooks[0]["last_error"]), (&json!(0), &Value::Null));
    assert_eq!((&hooks[1]["failed"], sound.got().len()), (&json!(0), 1));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_switched_off_and_gets_everything_once_it_is_enabled() {
    let receiver = Receiver::default();
    receiver.answer(&[(410, "")]);
    let world = world(vec![Webhook::new("shop", receiver.serve().await)]).await;
    world.start(1, "visa").await;
    let hooks = until(&world, |hooks| !hooks[0]["off"].is_null()).await;
    assert_eq!(hooks[0]["off"], "the endpoint answered 410 Gone");
    let metrics = world.api.get("/metrics").await.raw;
    assert!(metrics.contains("saga_webhook_off{webhook=\"shop\"} 1"), "{metrics}");
    for order in 2..5 {
        let id = world.start(order, "visa").await;
        world.until(&id, "completed").await;
    }
    assert_eq!(receiver.got().len(), 1, "nothing is sent while it is off");
    let enabled = give(&world, "shop/enable", json!({})).await;
    assert_eq!((enabled.status, &enabled.body["off"]), (200, &Value::Null));
    receiver.until(5).await;
    let mut ids: Vec<_> = receiver.events().into_iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each of the four orders");
}

#[tokio::test]
async fn an_endpoint_that_fails_for_too_long_is_switched_off_and_what_is_given_up_is_counted() {
    let receiver = Receiver::default();
    receiver.answer(&[(503, ""); 200]);
    let mut hook = Webhook::new("shop", receiver.serve().await);
    (hook.give_up, hook.disable_after) = (Duration::ZERO, Duration::from_millis(50));
    let world = world(vec![hook]).await;
    let mut order = 0;
    let hooks = loop {
        order += 1;
        world.start(order, "visa").await;
        receiver.until(order as usize).await;
        let hooks = until(&world, |hooks| hooks[0]["lost"].as_u64() >= Some(order.into())).await;
        if !hooks[0]["off"].is_null() {
            break hooks;
        }
    };
    let why = hooks[0]["off"].as_str().unwrap();
    assert!(why.contains("503"), "{why}");
    let metrics = world.api.get("/metrics").await.raw;
    let lost =
        format!("saga_webhook_deliveries_total{{outcome=\"lost\",webhook=\"shop\"}} {order}");
    assert!(metrics.contains(&lost), "{metrics}");
}

#[tokio::test]
async fn an_operator_has_deliveries_made_once_more() {
    let receiver = Receiver::default();
    let world = world(vec![Webhook::new("shop", receiver.serve().await)]).await;
    let first = world.start(1, "visa").await;
    world.until(&first, "completed").await;
    world.start(2, "visa").await;
    receiver.until(2).await;
    let disabled = give(&world, "shop/disable", json!({})).await;
    assert_eq!(disabled.body["off"], "a test");
    world.start(3, "visa").await;
    give(&world, "shop/enable", json!({})).await;
    receiver.until(3).await;

    let again = give(&world, "shop/replay", json!({ "saga_id": first })).await;
    assert_eq!(again.status, 200, "{}", again.raw);
    receiver.until(4).await;
    assert!(receiver.events()[3].1.starts_with(&first));
    give(&world, "shop/replay", json!({ "after": "beginning" })).await;
    receiver.until(7).await;

    let unknown = give(&world, "shpo/enable", json!({})).await;
    assert_eq!(unknown.problem(), "webhook-unknown");
    for (path, body) in [
        ("shop/replay", json!({})),
        ("shop/replay", json!({ "after": "yesterday" })),
        ("shop/enable", json!({ "after": "now" })),
    ] {
        assert_eq!(give(&world, path, body).await.problem(), "malformed-request", "{path}");
    }
    let nobody = json!({ "saga_id": "0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6" });
    assert_eq!(give(&world, "shop/replay", nobody).await.problem(), "saga-not-found");
}

#[tokio::test]
async fn an_operator_may_have_a_webhook_told_what_it_does_not_want_by_itself() {
    let receiver = Receiver::default();
    let mut hook = Webhook::new("shop", receiver.serve().await);
    hook.events = [saga_core::Status::Stuck].into();
    hook.definitions = ["another-definition".to_owned()].into();
    let world = world(vec![hook]).await;
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    give(&world, "shop/replay", json!({ "saga_id": id })).await;
    receiver.until(1).await;
    let hooks = until(&world, |hooks| hooks[0]["waiting"] == 0).await;
    assert_eq!((&hooks[0]["delivered"], &hooks[0]["lost"]), (&json!(1), &json!(0)));
    assert_eq!(receiver.events()[0].0, "completed");
}

#[tokio::test]
async fn a_webhook_that_owes_a_thousand_deliveries_takes_no_replay() {
    let store = memory();
    let owed = |seq: u64| {
        let saga_id = "0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6";
        json!({ "saga_id": saga_id, "seq": seq, "tries": 1, "first_ms": 1, "next_ms": u64::MAX })
    };
    let off = json!({ "since_ms": 1, "why": "a test" });
    let retries: Vec<_> = (1..=1_000).map(owed).collect();
    let state = json!({ "cursor": "", "off": off, "retries": retries });
    assert!(store.set_register("webhook/shop", 0, &state.to_string()).await.unwrap());
    let hook = Webhook::new("shop", Receiver::default().serve().await);
    let world = World::with(store, |builder| builder.webhooks(webhooks(vec![hook]))).await;
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    let refused = give(&world, "shop/replay", json!({ "saga_id": id })).await;
    assert_eq!((refused.status, refused.problem()), (429, "too-many-deliveries".into()));
    assert!(refused.raw.contains("1000 deliveries"), "{}", refused.raw);
}

#[tokio::test]
async fn what_was_delivered_before_an_operator_steps_in_is_not_delivered_again() {
    let receiver = Receiver::default();
    let world = world(vec![Webhook::new("shop", receiver.serve().await)]).await;
    receiver.hold();
    // A slow delivery holds the others up no more than it has to.
    for order in 1..=3 {
        world.start(order, "visa").await;
    }
    receiver.until(3).await;
    // All three are under way.
    give(&world, "shop/disable", json!({})).await;
    receiver.let_go();
    let hooks = until(&world, |hooks| hooks[0]["delivered"] == 3).await;
    assert_eq!((&hooks[0]["off"], &hooks[0]["waiting"]), (&json!("a test"), &json!(0)));
    give(&world, "shop/enable", json!({})).await;
    world.start(4, "visa").await;
    receiver.until(4).await;
    assert_eq!(receiver.got().len(), 4);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_costs_its_timeout_and_nobody_else_anything() {
    let (mute, sound) = (Receiver::default(), Receiver::default());
    mute.hold();
    let mut silent = Webhook::new("mute", mute.serve().await);
    silent.timeout = Duration::from_millis(50);
    let world = world(vec![silent, Webhook::new("sound", sound.serve().await)]).await;
    for order in 1..=20 {
        world.start(order, "visa").await;
    }
    sound.until(20).await;
    let hooks = until(&world, |hooks| hooks[0]["waiting"] == 20).await;
    assert_eq!(hooks[0]["last_error"], "no answer in time");
    assert_eq!((&hooks[0]["delivered"], &hooks[0]["lost"]), (&json!(0), &json!(0)));
    let metrics = world.api.get("/metrics").await.raw;
    assert!(metrics.contains("saga_webhook_age_seconds{webhook=\"mute\"}"), "{metrics}");
    mute.let_go();
    give(&world, "mute/enable", json!({})).await;
    let hooks = until(&world, |hooks| hooks[0]["delivered"] == 20).await;
    assert_eq!((&hooks[0]["waiting"], &hooks[0]["last_error"]), (&json!(0), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_daemon_with_webhooks_does_not_start_on_a_store_without_a_feed() {
    let url = format!("{}?distributed=true", throwaway_postgres::fresh_database().unwrap());
    let store = saga_store::connect(&url).await.unwrap();
    let hook = Webhook::new("shop", "https://shop.example/hooks".parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let daemon = saga_daemon::Daemon::builder(store).webhooks(webhooks(vec![hook]));
    let error = daemon.start(listener).await.unwrap_err().to_string();
    assert!(error.contains("webhooks need a store with a feed"), "{error}");
}

#[tokio::test]
async fn of_two_daemons_on_one_store_one_delivers_and_the_other_takes_over() {
    let store = memory();
    two_daemons([store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_daemons_on_postgres_one_delivers_and_the_other_takes_over() {
    let url = throwaway_postgres::fresh_database().unwrap();
    let stores =
        [saga_store::connect(&url).await.unwrap(), saga_store::connect(&url).await.unwrap()];
    two_daemons(stores).await;
}

async fn two_daemons([first, second]: [Arc<dyn Store>; 2]) {
    let receiver = Receiver::default();
    let hook = Webhook::new("shop", receiver.serve().await);
    let with = |store: Arc<dyn Store>| {
        let hook = hook.clone();
        World::with(store, |builder| builder.webhooks(webhooks(vec![hook])))
    };
    let (one, other) = (with(first).await, with(second).await);
    for world in [&one, &other] {
        until(world, |hooks| !hooks[0]["cursor"].is_null()).await;
    }
    for order in 0..20 {
        let world = if order % 2 == 0 { &one } else { &other };
        world.start(order, "visa").await;
    }
    receiver.until(20).await;
    one.stop().await;
    let after = other.start(20, "visa").await;
    receiver.until(21).await;
    let events = receiver.events();
    assert_eq!(events.len(), 21, "none is delivered twice");
    assert!(events[20].1.starts_with(&after));
}

#[tokio::test]
async fn webhooks_that_are_replaced_keep_their_place() {
    let (old, new) = (Receiver::default(), Receiver::default());
    let world = world(vec![Webhook::new("shop", old.serve().await)]).await;
    world.start(1, "visa").await;
    old.until(1).await;
    until(&world, |hooks| hooks[0]["delivered"] == 1).await;
    world.handle.replace_webhooks(Webhooks::default());
    assert_eq!(world.api.get("/v1/webhooks").await.body["webhooks"], json!([]));
    let missed = world.start(2, "visa").await;
    world.until(&missed, "completed").await;
    world.handle.replace_webhooks(webhooks(vec![Webhook::new("shop", new.serve().await)]));
    new.until(1).await;
    assert!(new.events()[0].1.starts_with(&missed));
    assert_eq!(old.got().len(), 1);
}

#[test]
fn what_is_wrong_with_webhooks_is_said_at_once() {
    let secrets = SecretSource::with_environment(None, |_| None);
    let url = |text: &str| text.parse::<Url>().unwrap();
    let mut nameless = Webhook::new("The Shop", url("https://shop.example/hook"));
    nameless.events.clear();
    let private = Webhook::new("shop", url("http://127.0.0.1:1/hook"));
    let mut keyless = Webhook::new("shop", url("https://shop.example/hook"));
    keyless.secrets = vec!["SHOP".to_owned()];
    let hooks = vec![nameless, private, keyless];
    let faults = Webhooks::new(hooks, secrets, AllowHosts::default()).unwrap_err().join("\n");
    for words in [
        "The Shop: its name is expected to be",
        "The Shop: its events are expected to be",
        "shop: 127.0.0.1 is an address of this machine",
        "shop: there are two of this name",
        "shop: there is no secret SHOP",
    ] {
        assert!(faults.contains(words), "{words:?} in {faults}");
    }
}

/// A daemon as a program, with a webhook in its configuration.
fn serve(folder: &Path, url: &Url) -> Served {
    let file = folder.join("saga.toml");
    let toml = format!(
        "allow_hosts = [\"127.0.0.1\"]\n[webhooks.shop]\nurl = \"{url}\"\nsecrets = [\"secret://SHOP\"]\n"
    );
    std::fs::write(&file, toml).unwrap();
    let mut command = program(&crate::process::embed());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--worker-lease-ttl", "1s"])
        .args(["--config", file.to_str().unwrap()])
        .env("STATE_DIRECTORY", folder.join("data"))
        .env("SAGA_SECRET_SHOP", KEY);
    Served::spawn(command, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_is_delivered_although_the_daemon_was_killed_before() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    // An address where nobody listens yet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url: Url = format!("http://{free}/hook?token=hush").parse().unwrap();
    let served = serve(folder.path(), &url);
    let deadline = Instant::now() + PATIENCE;
    while served.json(&["webhooks", "list"])["webhooks"][0]["cursor"].is_null() {
        assert!(Instant::now() < deadline, "it never began");
    }
    let started = served.json(&["start", "brew-tea", r#"{"cups":1}"#, "--wait", "30s"]);
    let id = started["id"].as_str().unwrap().to_owned();
    assert!(served.banner.contains("webhooks     shop"), "{}", served.banner);
    served.until_logged("webhook delivery failed");
    served.signal("KILL");
    drop(served);
    receiver.serve_at(&free.to_string()).await;
    let served = serve(folder.path(), &url);
    // Its predecessor could not hand its lease back, and what failed once waits for its time: both
    // are over when an operator says so.
    let deadline = Instant::now() + PATIENCE;
    while receiver.got().is_empty() {
        let enabled = served.run(&["webhooks", "enable", "shop", "--reason", "the shop is back"]);
        assert!(enabled.status.success(), "{enabled:?}");
        assert!(Instant::now() < deadline, "never delivered: {}", served.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(receiver.events()[0].1.starts_with(&id));
    for said in [
        served.log(),
        served.http("/v1/webhooks"),
        format!("{:?}", served.run(&["webhooks", "list"])),
    ] {
        assert!(!said.contains(KEY) && !said.contains("hush"), "{said}");
    }
}

#[tokio::test]
async fn a_webhook_that_retention_has_overtaken_goes_on_with_what_is_left() {
    let receiver = Receiver::default();
    let hook = Webhook::new("shop", receiver.serve().await);
    let world = World::with(memory(), |builder| {
        let builder = builder.webhooks(webhooks(vec![hook]));
        builder.worker(|worker| worker.retention(Duration::from_secs(6)))
    })
    .await;
    until(&world, |hooks| !hooks[0]["cursor"].is_null()).await;
    give(&world, "shop/disable", json!({})).await;
    let missed = world.start(1, "visa").await;
    world.until(&missed, "completed").await;
    let deadline = Instant::now() + PATIENCE;
    while world.api.get(&format!("/v1/sagas/{missed}")).await.status != 404 {
        assert!(Instant::now() < deadline, "retention never deletes it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    give(&world, "shop/enable", json!({})).await;
    let next = world.start(2, "visa").await;
    receiver.until(1).await;
    assert!(receiver.events()[0].1.starts_with(&next), "{:?}", receiver.events());
    let metrics = world.api.get("/metrics").await.raw;
    let lost = "saga_webhook_deliveries_total{outcome=\"lost\",webhook=\"shop\"} 1";
    assert!(metrics.contains(lost), "{metrics}");
}

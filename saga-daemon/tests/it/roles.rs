//! Who may do what, walked over every route of the document.

use std::path::Path;

use reqwest::Method;
use saga_daemon::access::{ApiKey, ApiKeys, Role};
use serde_json::json;

use crate::process::{BINARY, program, stderr, stdout};
use crate::support::{World, keys, memory};

#[tokio::test]
async fn every_route_lets_in_exactly_the_roles_it_declares() {
    let (keys, texts) = keys();
    let world = World::with(memory(), |builder| builder.keys(keys)).await;
    let (mut walked, mut refused) = (0, 0);
    for (path, methods) in world.api.document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let needed = operation["x-role"].as_str().map(|role| role.parse::<Role>().unwrap());
            // Let in, it meets an id that cannot be; nothing is started or commanded.
            let path = path.replace("{id}", "no-such-thing");
            // Nor does a stream begin that would not end.
            let path = match path.as_str() {
                "/v1/events" => "/v1/events?after=no-such-place".to_owned(),
                _ => path,
            };
            let post = method == "post";
            let ask = |api: crate::support::Api| {
                let path = path.clone();
                async move {
                    let method = if post { Method::POST } else { Method::GET };
                    let request = api.request(method, &path);
                    let request =
                        if post { request.json(&json!({ "reason": "x" })) } else { request };
                    api.send(request).await
                }
            };
            let nobody = ask(world.api.clone()).await;
            let stranger = ask(world.api.with_key("sk_admin_guess")).await;
            for outsider in [nobody, stranger] {
                let expected = if needed.is_some() { 401 } else { 200 };
                assert_eq!(outsider.status, expected, "{path}");
                if needed.is_some() {
                    assert_eq!(outsider.problem(), "unauthenticated");
                    assert_eq!(outsider.header("www-authenticate"), "Bearer");
                }
            }
            for (role, text) in &texts {
                let answer = ask(world.api.with_key(text)).await;
                let may = needed.is_none_or(|needed| *role >= needed);
                assert_eq!(answer.status != 403, may, "{method} {path} as {role}: {}", answer.raw);
                refused += usize::from(!may);
                walked += 1;
            }
        }
    }
    assert!(walked >= 4 * 18 && refused > 7 * 2, "{walked} {refused}");
}

#[tokio::test]
async fn the_key_of_a_start_and_of_a_command_is_in_the_log_and_its_secret_is_nowhere() {
    let (keys, texts) = keys();
    let world = World::with(memory(), |builder| builder.keys(keys)).await;
    let (_, admin) = &texts[3];
    let api = world.api.with_key(admin);
    let started = api.post("/v1/sagas/place-order", &json!({ "order": 1, "card": "broken" })).await;
    let path = format!("/v1/sagas/{}", started.text("/id"));
    let stopped = async {
        loop {
            let body = json!({ "reason": "enough", "actor": "bob" });
            let stopped = api.post(&format!("{path}/stop"), &body).await;
            if stopped.status == 200 {
                return;
            }
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, stopped).await.unwrap();
    let log = api.get(&format!("{path}/log")).await.raw;
    assert!(log.contains("place-order v1 started by key admin"), "{log}");
    assert!(log.contains("by bob (key admin): enough"), "{log}");
    let secret = admin.rsplit('_').next().unwrap();
    assert!(!log.contains(secret));
}

/// From the command line to the refusal (T2).
#[tokio::test]
async fn a_key_that_has_expired_is_refused_and_says_so() {
    let new = |expires: &str| {
        let mut new = program(Path::new(BINARY));
        new.args(["keys", "new", "shop", "--role", "viewer", "--expires", expires])
            .output()
            .unwrap()
    };
    for (expires, status) in [("1h", 200), ("0s", 401)] {
        let made = new(expires);
        let file: toml::Table = stderr(&made).parse().unwrap();
        let key: ApiKey = file["keys"][0].clone().try_into().unwrap();
        let keys = ApiKeys::new([key]).unwrap();
        let world = World::with(memory(), |builder| builder.keys(keys)).await;
        let answer = world.api.with_key(stdout(&made).trim()).get("/v1/sagas").await;
        assert_eq!(answer.status, status, "{}", answer.raw);
        assert_eq!(answer.raw.contains("has expired"), status == 401, "{}", answer.raw);
    }
    assert_eq!(new("soon").status.code(), Some(1), "that is no duration");
}

//! Texts that mean something to a database or a terminal, in every filter and every word of a command
//! (T13, and T6 for the terminal that an operator reads on).

use std::sync::Arc;

use reqwest::Method;
use saga_core::Store;
use serde_json::{Value, json};

use crate::process::{Served, folder, stdout};
use crate::support::World;

const HOSTILE: [&str; 16] = [
    "'",
    "' OR 1=1 --",
    "\"; DROP TABLE saga; --",
    "%",
    "_",
    "\\",
    "%' ESCAPE '\\",
    "$1",
    "?",
    "(SELECT pg_sleep(600))",
    "1; ATTACH DATABASE 'x' AS y",
    "\0",
    "order\0' OR ''='",
    "\u{1b}[31m",
    "\u{202e}",
    "99999999999999999999999999",
];

/// Every parameter that filters something, from the document of the API.
fn filters(world: &World) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, methods) in world.api.document()["paths"].as_object().unwrap() {
        let Some(parameters) = methods.pointer("/get/parameters").and_then(Value::as_array) else {
            continue;
        };
        let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let names = in_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned());
        found.extend(names.map(|name| (path.clone(), name)));
    }
    found
}

/// The status of an answer that may be a stream.
async fn status(world: &World, path: &str, query: &[(&str, &str)]) -> u16 {
    let request = world.api.request(Method::GET, path).query(query);
    request.send().await.unwrap().status().as_u16()
}

async fn every_filter_takes_texts_as_texts(store: Arc<dyn Store>) {
    let world = World::on(store).await;
    let id = world.start(1, "broken").await;
    world.until(&id, "stuck").await;
    let filters = filters(&world);
    assert!(filters.len() >= 20, "{filters:?}");
    for (path, parameter) in &filters {
        let path = path.replace("{id}", &id);
        for hostile in HOSTILE {
            let status = status(&world, &path, &[(parameter, hostile)]).await;
            assert!(
                matches!(status, 200 | 400 | 401 | 426),
                "{path} {parameter}={hostile:?}: {status}"
            );
        }
    }
    for field in ["name", "step", "key_prefix", "text"] {
        for hostile in HOSTILE {
            let body = json!({ "reason": "x", "filter": { field: hostile }, "dry_run": true });
            let answer = world.api.post("/v1/bulk/retry", &body).await;
            let matched = answer.body["matched"].as_u64().unwrap_or(0);
            assert!(matches!(answer.status, 200 | 400), "{field} {hostile:?}: {}", answer.raw);
            assert_eq!(matched, 0, "{field} {hostile:?} is no pattern");
        }
    }
    for hostile in HOSTILE {
        let path = format!("/v1/bulk/{}", hostile.replace(['/', '\\', '?', '%', '\0'], "%00"));
        let body = json!({ "reason": hostile, "actor": hostile, "step": hostile, "assume": 1 });
        for path in [path, format!("/v1/sagas/{id}/skip"), format!("/v1/sagas/{id}/pause")] {
            let answer = world.api.post(&path, &body).await;
            assert_eq!(answer.status, 400, "{path} {hostile:?}: {}", answer.raw);
        }
    }
    let listed = world.api.get("/v1/sagas?name=place-order").await;
    assert_eq!(listed.body["counts"]["stuck"], 1, "{}", listed.raw);
    world.stop().await;
}

#[tokio::test]
async fn no_filter_of_sqlite_is_read_as_a_statement_or_a_pattern() {
    let folder = folder();
    let url = format!("sqlite://{}", folder.path().join("saga.db").display());
    every_filter_takes_texts_as_texts(saga_store::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn no_filter_of_postgres_is_read_as_a_statement_or_a_pattern() {
    let url = throwaway_postgres::fresh_database().unwrap();
    every_filter_takes_texts_as_texts(saga_store::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn what_people_write_may_have_lines_but_no_control_characters() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let path = format!("/v1/sagas/{id}/pause");
    for (reason, status) in [("the bank is down\nsince noon", 200), ("\u{1b}[2J", 400)] {
        let answer = world.api.post(&path, &json!({ "reason": reason })).await;
        assert_eq!(answer.status, status, "{reason:?}: {}", answer.raw);
    }
}

/// What older releases took, or a library wrote, may be in a log for ever.
#[test]
fn the_command_line_shows_words_of_others_as_words() {
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    let tea = "{\"cups\": 1, \"boil_ms\": 600000}";
    let id = served.json(&["start", "brew-tea", tea])["id"].as_str().unwrap().to_owned();
    let reason = "kettle\n\u{202e}Ways out\n  saga-worker stop x";
    let given = served.run(&["pause", &id, "--reason", reason, "--actor", "ann"]);
    assert_eq!(given.status.code(), Some(0), "{}", stdout(&given));
    let log = stdout(&served.run(&["log", &id]));
    assert!(log.contains("kettle  Ways out   saga-worker stop x\n"), "{log:?}");
}

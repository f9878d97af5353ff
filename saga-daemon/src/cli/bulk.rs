//! Commands in bulk: begun, followed to their end, ended before it.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::arguments::Bulk;
use super::remote::{ago, body, print, request};
use super::show::table;
use super::{Code, Stop, terminal};
use crate::body::{BulkBody, BulksBody};

/// How often to look how far it has come.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn act(bulk: &Bulk) -> Result<ExitCode, Stop> {
    let remote = &bulk.remote;
    match (bulk.command.as_str(), &bulk.id) {
        ("list", None) => {
            let request = request(remote, Method::GET, &["v1", "bulk"])?;
            print(remote, &body::<BulksBody>(request).await?, |list| rows(&list.bulks))?;
            Ok(ExitCode::SUCCESS)
        }
        ("show", Some(id)) => ended(bulk, &look(bulk, id).await?),
        ("end", Some(id)) => {
            let request = request(remote, Method::POST, &["v1", "bulk", id, "cancel"])?;
            ended(bulk, &body::<BulkBody>(request.json(&Value::Null)).await?)
        }
        ("show" | "end", None) => {
            Err(Stop::failed("which bulk? name its id: saga-worker bulk list"))
        }
        (_, Some(id)) => {
            Err(Stop::failed(format!("{id:?} is too much: a bulk takes a filter, no id")))
        }
        (command, None) => follow(bulk, command).await,
    }
}

async fn look(bulk: &Bulk, id: &str) -> Result<BulkBody, Stop> {
    body(request(&bulk.remote, Method::GET, &["v1", "bulk", id])?).await
}

/// Begins a bulk and shows its progress on standard error until it has ended.
async fn follow(bulk: &Bulk, command: &str) -> Result<ExitCode, Stop> {
    let mut start = request(&bulk.remote, Method::POST, &["v1", "bulk", command])?;
    if let Some(key) = &bulk.key {
        start = start.header("Idempotency-Key", key);
    }
    let mut now: BulkBody = body(start.json(&asked(bulk)?)).await?;
    while now.state == "running" {
        eprintln!("bulk {}: {}", now.id, progress(&now));
        tokio::time::sleep(LOOK).await;
        now = look(bulk, &now.id).await?;
    }
    ended(bulk, &now)
}

fn ended(bulk: &Bulk, now: &BulkBody) -> Result<ExitCode, Stop> {
    print(&bulk.remote, now, |now| {
        let mut text = rows(std::slice::from_ref(now));
        for (why, count) in &now.refused {
            text += &format!("{count} refused: {}\n", terminal::line(why));
        }
        for id in &now.sample {
            text += &format!("would get it: {id}\n");
        }
        if now.more {
            text += "and more\n";
        }
        text
    })?;
    let is_whole = now.refused.is_empty() && now.unanswered == 0 && now.state != "cancelled";
    Ok(if is_whole { ExitCode::SUCCESS } else { Code::Failed.into() })
}

fn progress(now: &BulkBody) -> String {
    let refused: u64 = now.refused.values().sum();
    format!("{} matched, {} carried out, {refused} refused", now.matched, now.accepted)
}

fn rows(bulks: &[BulkBody]) -> String {
    let rows = bulks.iter().map(|now| {
        let refused: u64 = now.refused.values().sum();
        let counts = [now.matched, now.accepted, refused, now.unanswered];
        let mut row = vec![now.id.clone(), now.command.clone(), now.state.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(format!("{}: {}", now.actor, now.reason));
        row
    });
    let head = [
        "BULK",
        "COMMAND",
        "STATE",
        "MATCHED",
        "CARRIED OUT",
        "REFUSED",
        "UNANSWERED",
        "WHO AND WHY",
    ];
    table(&head, rows)
}

/// The body of the request.
fn asked(bulk: &Bulk) -> Result<Value, Stop> {
    let (mut filter, of) = (Map::new(), &bulk.filter);
    let mut condition = |name: &str, value: Option<Value>| {
        filter.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text = |value: &Option<String>| value.clone().map(Value::String);
    condition("status", (!of.status.is_empty()).then(|| json!(of.status)));
    condition("name", text(&of.name));
    condition("version", of.version.map(Value::from));
    condition("step", text(&of.step));
    condition("key_prefix", text(&of.key_prefix));
    condition("text", text(&of.text));
    let micros =
        |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok()).map(Value::from);
    condition("started_after", micros(ago("--since", &of.since)?));
    condition("started_before", micros(ago("--until", &of.until)?));
    condition("all", bulk.all.then_some(Value::Bool(true)));
    let mut body = json!({ "reason": bulk.reason, "filter": filter, "dry_run": bulk.dry_run });
    if let Some(actor) = &bulk.actor {
        body["actor"] = json!(actor);
    }
    if let Some(rate) = bulk.rate {
        body["rate"] = json!(rate);
    }
    if bulk.command == "skip" {
        body["step"] = json!(bulk.filter.step);
        if let Some(text) = &bulk.assume {
            body["assume"] = serde_json::from_str(text)
                .map_err(|error| Stop::failed(format!("--assume {text:?} is no JSON: {error}")))?;
        }
    }
    Ok(body)
}

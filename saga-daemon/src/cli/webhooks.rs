//! Webhooks: how they stand, and what an operator does about them.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::{Value, json};

use super::Stop;
use super::arguments::{WebhookAction, WebhookCommand};
use super::remote::{body, print, request};
use super::show::table;
use crate::body::{WebhookBody, WebhooksBody};

pub(super) async fn act(action: &WebhookAction) -> Result<ExitCode, Stop> {
    match action {
        WebhookAction::List(remote) => {
            let request = request(remote, Method::GET, &["v1", "webhooks"])?;
            print(remote, &body::<WebhooksBody>(request).await?, list)?;
            Ok(ExitCode::SUCCESS)
        }
        WebhookAction::Enable(command) => give("enable", command, json!({})).await,
        WebhookAction::Disable(command) => give("disable", command, json!({})).await,
        WebhookAction::Replay { command, saga: Some(id), .. } => {
            give("replay", command, json!({ "saga_id": id })).await
        }
        WebhookAction::Replay { command, after, .. } => {
            give("replay", command, json!({ "after": after })).await
        }
    }
}

async fn give(verb: &str, command: &WebhookCommand, mut asked: Value) -> Result<ExitCode, Stop> {
    asked["reason"] = json!(command.reason);
    let path = ["v1", "webhooks", &command.name, verb];
    let request = request(&command.remote, Method::POST, &path)?.json(&asked);
    print(&command.remote, &body::<WebhookBody>(request).await?, |hook| {
        list(&WebhooksBody { webhooks: vec![hook.clone()] })
    })?;
    Ok(ExitCode::SUCCESS)
}

fn list(list: &WebhooksBody) -> String {
    if list.webhooks.is_empty() {
        return "no webhooks: add tables [webhooks.NAME] to the configuration file\n".to_owned();
    }
    let rows = list.webhooks.iter().map(|hook| {
        let state = match (&hook.off, &hook.last_error, &hook.cursor) {
            (Some(why), _, _) => format!("off: {why}"),
            (None, Some(error), _) => format!("failing: {error}"),
            (None, None, None) => "has not begun".to_owned(),
            (None, None, Some(_)) => "on".to_owned(),
        };
        let figures = [hook.delivered, hook.waiting, hook.lost].map(|figure| figure.to_string());
        let [delivered, waiting, lost] = figures;
        vec![hook.name.clone(), hook.url.clone(), delivered, waiting, lost, state]
    });
    table(&["WEBHOOK", "URL", "DELIVERED", "WAITING", "LOST", "STATE"], rows)
}

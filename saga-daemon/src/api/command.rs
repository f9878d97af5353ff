//! Operator commands.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use saga_core::{Assume, Command, CommandAction, Event, IdempotencyKey, SagaId};
use saga_worker::{ClientError, CommandError};

use super::{entity_tag, view};
use crate::access::Principal;
use crate::body::{CommandBody, CommandResultBody};
use crate::problem::{Kind, Problem};
use crate::request::{Call, expect_readable};
use crate::service::App;

/// Which command a route gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Retry,
    Skip,
    Compensate,
    Cancel,
    Pause,
    Resume,
    Stop,
}

impl Verb {
    /// The command of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "retry" => Self::Retry,
            "skip" => Self::Skip,
            "compensate" => Self::Compensate,
            "cancel" => Self::Cancel,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "stop" => Self::Stop,
            _ => return None,
        })
    }
}

/// Most log rows read at once.
const PAGE: u32 = 256;

pub(crate) async fn give(
    State(app): State<App>,
    call: Call,
    verb: Verb,
) -> Result<Response, Problem> {
    let id = call.saga()?;
    let body: CommandBody = serde_json::from_str(&call.body).map_err(|error| {
        let expected = "expected JSON like {\"reason\": \"the participant is mended\"}";
        Problem::new(Kind::Malformed, format!("the body is no command: {error}; {expected}"))
    })?;
    for (field, text) in [
        ("reason", Some(&body.reason)),
        ("actor", body.actor.as_ref()),
        ("step", body.step.as_ref()),
    ] {
        expect_readable(field, text.map_or("", String::as_str))?;
    }
    let request_id = match call.header("Idempotency-Key")? {
        Some(text) => text.to_owned(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    let request_id = IdempotencyKey::new(request_id)
        .map_err(|error| Problem::new(Kind::Malformed, error.to_string()))?;
    let command = Command {
        request_id: request_id.clone(),
        actor: actor(&call.principal, body.actor.as_deref()),
        action: action(verb, &body)?,
        reason: body.reason,
        // Where the saga stands is looked at here, for an answer at once, and again by the worker
        // that carries the command out, for by then it may have moved on.
        expected_seq: call.tags("If-Match")?.and_then(|tags| tags.only()),
    };
    unchanged(&app, &call, id, &request_id).await?;
    let (status, carried_out) = match app.client().command(id, command).await {
        Ok(()) => (StatusCode::OK, true),
        Err(CommandError::Unanswered { .. }) => (StatusCode::ACCEPTED, false),
        Err(error) => return Err(Problem::from(error).about(id)),
    };
    let view = view(&app, id).await?;
    let tag = [(header::ETAG, entity_tag(view.seq))];
    let request_id = request_id.to_string();
    let body = CommandResultBody { request_id, carried_out, saga: view.into() };
    Ok((status, tag, Json(body)).into_response())
}

/// Who asks: the key cannot be made up, what they call themselves can.
pub(super) fn actor(principal: &Principal, claimed: Option<&str>) -> String {
    match (&principal.key, claimed) {
        (Some(key), Some(claimed)) => format!("{claimed} (key {key})"),
        (Some(key), None) => format!("key {key}"),
        (None, Some(claimed)) => claimed.to_owned(),
        (None, None) => "anonymous".to_owned(),
    }
}

pub(super) fn action(verb: Verb, body: &CommandBody) -> Result<CommandAction, Problem> {
    if verb != Verb::Skip {
        let given = [("step", body.step.is_some()), ("assume", body.assume.is_some())];
        if let Some((field, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(Problem::field(field, "(given)", "nothing: only skip has this field"));
        }
    }
    Ok(match verb {
        Verb::Retry => CommandAction::Retry,
        Verb::Compensate => CommandAction::Compensate,
        Verb::Cancel => CommandAction::Cancel,
        Verb::Pause => CommandAction::Pause,
        Verb::Resume => CommandAction::Resume,
        Verb::Stop => CommandAction::Stop,
        Verb::Skip => {
            let step = body.step.clone().ok_or_else(|| {
                Problem::field("step", "(missing)", "the name of the step to skip")
            })?;
            CommandAction::Skip { step, assume: assume(body)? }
        }
    })
}

fn assume(body: &CommandBody) -> Result<Assume, Problem> {
    let expected =
        "{\"processed\": <output>}, \"no_effect\", \"compensated\" or \"effect_remains\"";
    let value = body.assume.as_ref();
    let value = value.ok_or_else(|| Problem::field("assume", "(missing)", expected))?;
    // By way of text: a payload is kept as the JSON it came as.
    let text = value.to_string();
    serde_json::from_str(&text).map_err(|_| Problem::field("assume", &text, expected))
}

/// Checks `If-Match`. A command that was accepted before is what moved the saga on, so repeating
/// it is not refused.
async fn unchanged(
    app: &App,
    call: &Call,
    id: SagaId,
    request_id: &IdempotencyKey,
) -> Result<(), Problem> {
    let Some(tags) = call.tags("If-Match")? else { return Ok(()) };
    let row = app.client().store().row(id).await?.ok_or(ClientError::NotFound { id })?;
    if tags.match_seq(row.seq) || accepted(app, id, row.seq, request_id).await? {
        return Ok(());
    }
    let detail = format!(
        "the saga stands at \"{}\" by now: look at it again, then repeat the command with that entity tag",
        row.seq
    );
    Err(Problem::new(Kind::Changed, detail)
        .with_header(header::ETAG, entity_tag(row.seq))
        .about(id))
}

async fn accepted(
    app: &App,
    id: SagaId,
    seq: u64,
    request_id: &IdempotencyKey,
) -> Result<bool, Problem> {
    let is_it = |event: &Event| match event {
        Event::CommandAccepted(command) => command.request_id == *request_id,
        _ => false,
    };
    let mut after = 0;
    while after < seq {
        let entries = app.client().log(id, after, PAGE).await?;
        let Some(last) = entries.last() else { break };
        after = last.transition.seq;
        if entries.iter().any(|entry| entry.transition.events.iter().any(is_it)) {
            return Ok(true);
        }
    }
    Ok(false)
}

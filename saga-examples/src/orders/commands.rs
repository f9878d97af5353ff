//! `POST /orders/{id}/commands`: what a customer or the shop's staff may ask of an order under way.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use saga_core::{Command, CommandAction, IdempotencyKey, SagaId};
use saga_participant::{Problem, headers, problem};
use saga_worker::CommandError;
use serde::{Deserialize, Serialize};

use super::{NOT_FOUND, Shop, conflict, malformed, parse, text_header};

/// Type of the answer to a command that makes no sense for the order now: status 409.
const COMMAND_REFUSED: &str = "https://github.com/saga-engine/saga/problems/command-refused";

/// What a command looks like, for whoever sent something else.
const EXPECTED: &str = "expected JSON like {\"action\":\"cancel\",\"actor\":\"customer-003\",\
                        \"reason\":\"changed my mind\"}, and a header Idempotency-Key";

/// The body of a command; its request id is the header `Idempotency-Key`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandBody {
    action: CommandAction,
    actor: String,
    reason: String,
}

/// The body of the answer to a command that was carried out, or that is on record.
#[derive(Debug, Serialize)]
struct GivenBody {
    order_id: SagaId,
    carried_out: bool,
}

/// Gives a command to the saga of an order and waits for what becomes of it. The same request id gets
/// the same answer again.
pub(super) async fn give(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let command = read(&request, &body)?;
    let (code, carried_out) = match shop.sagas().command(id, command).await {
        Ok(()) => (StatusCode::OK, true),
        Err(CommandError::Unanswered { .. }) => (StatusCode::ACCEPTED, false),
        Err(error) => return Err(refused(&error)),
    };
    Ok((code, Json(GivenBody { order_id: id, carried_out })).into_response())
}

fn read(request: &HeaderMap, body: &[u8]) -> Result<Command, Problem> {
    let bad = |detail: String| malformed(StatusCode::BAD_REQUEST, detail);
    let CommandBody { action, actor, reason } = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is no command: {error}; {EXPECTED}")))?;
    let key = text_header(request, headers::IDEMPOTENCY_KEY)?;
    let key = key.ok_or_else(|| bad(format!("a command has no request id; {EXPECTED}")))?;
    let request_id = IdempotencyKey::new(key).map_err(|error| bad(error.to_string()))?;
    Ok(Command { request_id, actor, reason, action, expected_seq: None })
}

fn refused(error: &CommandError) -> Problem {
    let detail = error.to_string();
    match error {
        CommandError::Refused(_) => {
            Problem::new(COMMAND_REFUSED, "The order cannot do that now", 409, detail)
        }
        CommandError::Conflict { .. } => conflict(detail),
        CommandError::NotFound { .. } => {
            Problem::new(NOT_FOUND, "There is no such order", 404, detail)
        }
        CommandError::Unanswered { .. } | CommandError::Store(_) => {
            Problem::new(problem::NOT_YET, "The command cannot be given now", 503, detail)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn request(key: Option<&'static str>) -> HeaderMap {
        let mut request = HeaderMap::new();
        if let Some(key) = key {
            request.insert(headers::IDEMPOTENCY_KEY, key.parse().unwrap());
        }
        request
    }

    #[test]
    fn a_command_is_read_with_its_request_id() {
        let body = br#"{"action":"cancel","actor":"customer-003","reason":"changed my mind"}"#;
        let command = read(&request(Some("cancel-17")), body).unwrap();
        assert_eq!(command.action, CommandAction::Cancel);
        assert_eq!(command.request_id.as_str(), "cancel-17");
    }

    #[test]
    fn a_command_that_is_none_or_has_no_request_id_is_told_what_was_expected() {
        let known = br#"{"action":"pause","actor":"staff","reason":"fraud check"}"#;
        let other = br#"{"action":"undo","actor":"staff","reason":"fraud check"}"#;
        for (key, body) in [(None, &known[..]), (Some("pause-17"), &other[..])] {
            let problem = read(&request(key), body).unwrap_err();
            assert!(format!("{problem:?}").contains("expected JSON like"), "{problem:?}");
        }
    }
}

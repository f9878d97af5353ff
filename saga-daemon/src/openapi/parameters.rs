//! What the values of parameters look like: the same rules that requests are read by.

use saga_core::Status;
use saga_core::store::Query;
use serde_json::{Value, json};

use crate::routes::{Parameter, Place, Route};

/// A duration as `?wait=` takes it, up to its 60 s.
const WAIT: &str = "^([0-5]?[0-9]{1,4}ms|[1-5]?[0-9]s|60s|60000ms|[01]m)$";
/// Text without control characters.
const PRINTED: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
const VISIBLE: &str = r"^[\x21-\x7e]+$";
const VERSION_7: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
const TAGS: &str = r#"^(\*|(W/)?"[0-9]{1,18}"( *, *(W/)?"[0-9]{1,18}")*)$"#;
const TRACEPARENT: &str = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$";

/// A parameter of a route, as the document shows it.
pub(super) fn parameter(route: &Route, parameter: &Parameter) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place == Place::Path,
        "description": parameter.about,
        "schema": schema(route, parameter),
    })
}

fn schema(route: &Route, parameter: &Parameter) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let id = json!({ "type": "string", "format": "uuid" });
    let count = |least: u64| json!({ "type": "integer", "minimum": least, "maximum": i64::MAX });
    let of_log = route.path.starts_with("/v1/sagas/");
    match parameter.name {
        "name" if parameter.place == Place::Path => text("^[a-z0-9-]{1,64}$"),
        "id" if route.operation == "start" => text(VISIBLE),
        "id" if route.operation == "bulk" => {
            text("^(retry|skip|compensate|cancel|pause|resume|stop)$")
        }
        "id" if route.path.starts_with("/v1/bulk/") => text("^[0-9a-f]{32}$"),
        "id" | "before" => id,
        "X-Saga-ID" => json!({ "type": "string", "format": "uuid", "pattern": VERSION_7 }),
        "step" | "text" => json!({ "type": "string", "minLength": 1, "pattern": PRINTED }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": Query::LIMIT_MAX }),
        "wait" => text(WAIT),
        "status" => text(&list(&Status::ALL.map(Status::as_str))),
        "version" | "X-Saga-Version" => {
            json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
        }
        "after" if of_log => count(0),
        "Last-Event-ID" if of_log => count(0),
        "started_after" | "started_before" | "since" | "until" => {
            json!({ "type": "integer", "format": "int64" })
        }
        "verdicts" => json!({ "type": "string", "enum": ["true", "false"] }),
        "key" | "key_prefix" | "Idempotency-Key" => {
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": PRINTED })
        }
        "If-Match" | "If-None-Match" => text(TAGS),
        "traceparent" => text(TRACEPARENT),
        _ if parameter.place == Place::Query => text(PRINTED),
        _ => json!({ "type": "string" }),
    }
}

/// One or several of these words, separated by commas.
fn list(words: &[&str]) -> String {
    let one = words.join("|");
    format!("^({one})(,({one}))*$")
}

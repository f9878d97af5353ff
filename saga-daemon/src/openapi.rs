//! The OpenAPI document and the page for people, both made from the table of routes.

mod page;
mod parameters;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::body;
use crate::problem::{Kind, MEDIA_TYPE, ProblemBody, TYPE_BASE};
use crate::routes::table::ROUTES;
use crate::routes::{Access, Answer, Body, Content, Route, Verb};

pub(crate) use page::page;

/// The schemas of all bodies, from their Rust types.
#[derive(OpenApi)]
#[openapi(components(schemas(
    ProblemBody,
    body::SagaBody,
    body::StepBody,
    body::SummaryBody,
    body::ListBody,
    body::LogBody,
    body::TransitionBody,
    body::EventBody,
    body::CommandBody,
    body::CommandResultBody,
    body::DefinitionsBody,
    body::DefinitionBody,
    body::WorkersBody,
    body::WorkerBody,
    body::BreakersBody,
    body::BreakerBody,
    body::HealthBody,
    body::EnvelopeBody,
    body::BeatBody,
    body::TicketBody,
    body::BulkCommandBody,
    body::BulkFilterBody,
    body::BulkBody,
    body::BulksBody,
    body::WebhooksBody,
    body::WebhookBody,
    body::WebhookCommandBody,
    body::AuditEntryBody,
    body::AuditListBody,
)))]
struct Schemas;

/// Whether those who call have to show a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// They do.
    Asked,
    /// They need not: the daemon has no keys.
    None,
}

/// The document as JSON.
pub(crate) fn document(keys: Keys) -> Value {
    let mut schemas = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut components = schemas["components"].take();
    components["securitySchemes"] = json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, sk_<id>_<secret>. A daemon without keys on loopback asks for none.",
        }
    });
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        let method = match route.verb {
            Verb::Get => "get",
            Verb::Post => "post",
        };
        path[method] = operation(route, keys);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Saga",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Start sagas, watch them, and give them commands. All times are whole microseconds since 1970-01-01T00:00:00Z.",
        },
        "paths": paths,
        "components": components,
    })
}

fn operation(route: &Route, keys: Keys) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": route.parameters.iter().map(|parameter| parameters::parameter(route, parameter)).collect::<Vec<_>>(),
        "responses": responses(route),
    });
    if let Access::From(role) = route.access {
        operation["security"] = match keys {
            Keys::Asked => json!([{ "key": [] }]),
            Keys::None => json!([]),
        };
        operation["x-role"] = json!(role.as_str());
    }
    if let Some(action) = route.audit.action() {
        operation["x-audit"] = json!(action);
    }
    let body = match route.body {
        None => return operation,
        Some(Body::Any(about)) => json!({
            "description": about,
            // So that its media type is declared, which no page of another site can do.
            "required": true,
            "content": { "application/json": { "schema": {} } },
        }),
        Some(Body::Schema(name)) => json!({
            "required": true,
            "content": { "application/json": { "schema": reference(name) } },
        }),
    };
    operation["requestBody"] = body;
    operation
}

fn responses(route: &Route) -> Value {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for answer in route.answers {
        responses.insert(answer.status.to_string(), response(answer));
    }
    let mut problems: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in route.all_problems() {
        problems.entry(kind.status().as_u16()).or_default().push(kind);
    }
    for (status, kinds) in problems {
        let about: Vec<_> =
            kinds.iter().map(|kind| format!("{} (`{}`)", kind.title(), kind.slug())).collect();
        let types: Vec<_> =
            kinds.iter().map(|kind| format!("{TYPE_BASE}{}", kind.slug())).collect();
        let mut content = Map::new();
        content.insert(MEDIA_TYPE.to_owned(), json!({ "schema": reference("Problem") }));
        let problem = json!({
            "description": about.join("; "),
            "content": content,
            "x-problem-types": types,
        });
        responses.insert(status.to_string(), problem);
    }
    json!(responses)
}

fn response(answer: &Answer) -> Value {
    let mut response = json!({ "description": answer.about });
    let (media_type, schema) = match answer.content {
        Content::Nothing => return response,
        Content::Schema(name) => ("application/json", reference(name)),
        Content::Json => ("application/json", json!({})),
        Content::Text(media_type) => (media_type, json!({ "type": "string" })),
    };
    let mut content = Map::new();
    content.insert(media_type.to_owned(), json!({ "schema": schema }));
    response["content"] = Value::Object(content);
    response
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

#[cfg(test)]
mod tests;

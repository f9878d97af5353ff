//! The documentation page: plain HTML, without scripts and without the network.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Keys, document};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}h2{margin-top:2.5rem;font-size:1.1rem;border-top:1px solid #d0d7de;padding-top:1rem}\
code,pre{font:14px ui-monospace,monospace;background:#f3f4f6;border-radius:4px}code{padding:.1em .3em}\
pre{padding:1rem;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;\
padding:.3rem .6rem .3rem 0;border-bottom:1px solid #eaeef2}@media(prefers-color-scheme:dark){body{color:#e6edf3;\
background:#0d1117}code,pre{background:#161b22}h2,td,th{border-color:#30363d}a{color:#79c0ff}}";

const FIRST_STEPS: &str = "curl --json '{\"order\": 17}' -H 'Idempotency-Key: order-17' \\\n     'http://127.0.0.1:7878/v1/sagas/place-order?wait=30s'\n\
curl 'http://127.0.0.1:7878/v1/sagas?status=stuck'\n\
curl -N http://127.0.0.1:7878/v1/sagas/$ID/events\n\
curl --json '{\"reason\": \"the participant is mended\"}' http://127.0.0.1:7878/v1/sagas/$ID/retry\n";

/// The page.
pub(crate) fn page() -> String {
    let document = document(Keys::Asked);
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Saga API</title>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style><h1>Saga API {}</h1><p>{}</p>\
         <p>With API keys, send <code>Authorization: Bearer sk_&lt;id&gt;_&lt;secret&gt;</code>. Errors are problems \
         (RFC 9457). Programs read <a href=/openapi.json>openapi.json</a>.</p><pre>{}</pre>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
        escape(FIRST_STEPS),
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            show(&mut page, path, method, operation);
        }
    }
    page.push_str("<h1>Bodies</h1>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(
            page,
            "<h2 id=\"{0}\">{0}</h2><p>{1}</p>",
            escape(name),
            text(&schema["description"])
        );
        fields(&mut page, schema);
    }
    page.push_str("</html>");
    page
}

fn show(page: &mut String, path: &str, method: &str, operation: &Value) {
    let role = match operation["x-role"].as_str() {
        Some(role) => format!("role {role}"),
        None => "no key needed".to_owned(),
    };
    let _ = write!(
        page,
        "<h2><code>{} {}</code> · {role}</h2><p>{}</p>",
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"])
    );
    page.push_str("<table>");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        row(page, &parameter["name"], &parameter["in"], &parameter["description"]);
    }
    if let Some(body) = operation.get("requestBody") {
        let schema = &body["content"]["application/json"]["schema"];
        let _ = write!(page, "<tr><th>body<td>{}<td>{}", link(schema), text(&body["description"]));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let contents = response["content"].as_object().into_iter().flatten();
        let links: Vec<_> = contents.map(|(_, content)| link(&content["schema"])).collect();
        let _ = write!(
            page,
            "<tr><th>{status}<td>{}<td>{}",
            links.concat(),
            text(&response["description"])
        );
    }
    page.push_str("</table>");
}

fn fields(page: &mut String, schema: &Value) {
    page.push_str("<table>");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let kind = match &field["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
            }
            _ => link(field),
        };
        let words = field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let words = words.collect::<Vec<_>>().join(", ");
        let _ = write!(
            page,
            "<tr><th><code>{}</code><td>{kind}<td>{} {}",
            escape(name),
            text(&field["description"]),
            escape(&words)
        );
    }
    page.push_str("</table>");
}

fn row(page: &mut String, name: &Value, place: &Value, about: &Value) {
    let _ =
        write!(page, "<tr><th><code>{}</code><td>{}<td>{}", text(name), text(place), text(about));
}

/// A link to the schema that is meant, if one is.
fn link(schema: &Value) -> String {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(escape);
    name.map_or_else(String::new, |name| format!("<a href=\"#{name}\">{name}</a>"))
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

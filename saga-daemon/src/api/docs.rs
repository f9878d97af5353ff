//! The API as a document, for programs and for people.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::openapi::{self, Keys};
use crate::service::App;

static WITH_KEYS: LazyLock<String> = LazyLock::new(|| json(Keys::Asked));
static WITHOUT_KEYS: LazyLock<String> = LazyLock::new(|| json(Keys::None));
static PAGE: LazyLock<String> = LazyLock::new(openapi::page);

fn json(keys: Keys) -> String {
    serde_json::to_string_pretty(&openapi::document(keys)).expect("it holds only text and numbers")
}

pub(crate) async fn openapi(State(app): State<App>) -> Response {
    let document = if app.asks_for_keys() { &WITH_KEYS } else { &WITHOUT_KEYS };
    ([(header::CONTENT_TYPE, "application/json")], document.as_str()).into_response()
}

pub(crate) async fn docs() -> Response {
    // The page holds its style and no script.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE.as_str())).into_response()
}

//! The API as a document, for programs and for people.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::openapi;

static JSON: LazyLock<String> = LazyLock::new(|| {
    serde_json::to_string_pretty(&openapi::document()).expect("it holds only text and numbers")
});
static PAGE: LazyLock<String> = LazyLock::new(openapi::page);

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}

pub(crate) async fn docs() -> Response {
    // The page holds its style and no script.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE.as_str())).into_response()
}

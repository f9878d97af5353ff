//! The engine itself: definitions, workers, breakers, health, metrics.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use saga_core::DefinitionRef;

use crate::body::{
    BreakerBody, BreakersBody, DefinitionBody, DefinitionsBody, HealthBody, WorkerBody, WorkersBody,
};
use crate::metrics;
use crate::problem::{Kind, Problem};
use crate::request::Call;
use crate::service::App;

pub(crate) async fn definitions(
    State(app): State<App>,
    _: Call,
) -> Result<Json<DefinitionsBody>, Problem> {
    let mut known: BTreeMap<DefinitionRef, usize> = BTreeMap::new();
    for worker in app.client().store().workers().await?.into_iter().filter(|row| !row.expired) {
        for definition in worker.card.definitions {
            *known.entry(definition).or_default() += 1;
        }
    }
    let mut definitions = Vec::new();
    for (definition, workers) in known {
        if let Some(spec) = app.spec(&definition).await? {
            definitions.push(DefinitionBody::new(&spec, workers));
        }
    }
    Ok(Json(DefinitionsBody { definitions }))
}

pub(crate) async fn workers(State(app): State<App>, _: Call) -> Result<Json<WorkersBody>, Problem> {
    let workers = app.client().store().workers().await?;
    Ok(Json(WorkersBody { workers: workers.into_iter().map(WorkerBody::from).collect() }))
}

pub(crate) async fn breakers(State(app): State<App>, _: Call) -> Json<BreakersBody> {
    Json(BreakersBody { breakers: app.breakers().into_iter().map(BreakerBody::from).collect() })
}

pub(crate) async fn healthz() -> Json<HealthBody> {
    Json(HealthBody::default())
}

pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<HealthBody>, Problem> {
    if !app.is_ready() {
        return Err(Problem::new(Kind::NotReady, "the daemon drains: send requests elsewhere"));
    }
    if let Err(error) = app.client().store().workers().await {
        tracing::warn!(%error, "not ready: the store does not answer");
        return Err(Problem::new(Kind::NotReady, "the store does not answer"));
    }
    Ok(Json(HealthBody::default()))
}

pub(crate) async fn metrics(State(app): State<App>, _: Call) -> Result<Response, Problem> {
    let text = app.metrics().render(&app).await;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response())
}

//! Commands in bulk.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use saga_core::{Digest, IdempotencyKey, SagaId};

use super::command::{Verb, action, actor};
use crate::body::{BulkBody, BulkCommandBody, BulkFilterBody, BulksBody, CommandBody};
use crate::bulk::{self, Bulk, Change, Counts, Filter, Phase};
use crate::problem::{Kind, Problem};
use crate::register::now_ms;
use crate::request::{Call, expect_printed, expect_readable};
use crate::service::App;

/// Default of the pace, in sagas for each second.
const RATE: u32 = 50;
const RATE_MAX: u32 = 1_000;
/// Sagas that a dry run shows.
const SAMPLE: usize = 20;
/// Sagas that a dry run counts.
const COUNTED_MAX: u64 = 10_000;
/// Bulks under way at the same time.
const RUNNING_MAX: usize = 10;

pub(crate) async fn start(State(app): State<App>, call: Call) -> Result<Response, Problem> {
    let body: BulkCommandBody = serde_json::from_str(&call.body).map_err(|error| {
        let expected = "expected JSON like {\"reason\": \"the bank is back\", \"filter\": {\"status\": [\"stuck\"]}}";
        Problem::new(Kind::Malformed, format!("the body is no bulk: {error}; {expected}"))
    })?;
    let bulk = read(&call, &body)?;
    if body.dry_run {
        return Ok((StatusCode::OK, Json(dry_run(&app, &bulk).await?)).into_response());
    }
    let store = app.client().store();
    if let Some((_, known)) = bulk::find(&**store, &bulk.id).await? {
        let same = (&known.action, &known.filter) == (&bulk.action, &bulk.filter);
        return match same {
            true => Ok((StatusCode::OK, Json(BulkBody::new(&known))).into_response()),
            false => Err(Problem::new(
                Kind::KeyConflict,
                "the idempotency key was used before for another bulk: use a new one",
            )),
        };
    }
    let running = bulk::list(&**store).await?;
    if running.iter().filter(|known| known.phase == Phase::Running).count() >= RUNNING_MAX {
        let detail = format!("{RUNNING_MAX} bulks are under way: wait for one, or cancel one");
        return Err(Problem::new(Kind::TooManyBulks, detail));
    }
    bulk::create(&**store, &bulk).await?;
    let Bulk { id, actor, reason, .. } = &bulk;
    tracing::info!(bulk = id, actor, reason, command = bulk.action.verb(), "bulk begun");
    Ok((StatusCode::ACCEPTED, Json(BulkBody::new(&bulk))).into_response())
}

pub(crate) async fn list(State(app): State<App>, _: Call) -> Result<Json<BulksBody>, Problem> {
    let mut bulks = bulk::list(&**app.client().store()).await?;
    bulks.sort_by_key(|bulk| std::cmp::Reverse(bulk.started_ms));
    Ok(Json(BulksBody { bulks: bulks.iter().map(BulkBody::new).collect() }))
}

pub(crate) async fn get(State(app): State<App>, call: Call) -> Result<Json<BulkBody>, Problem> {
    let found = bulk::find(&**app.client().store(), call.part("id")).await?;
    let (_, bulk) = found.ok_or_else(|| unknown(&call))?;
    Ok(Json(BulkBody::new(&bulk)))
}

pub(crate) async fn cancel(State(app): State<App>, call: Call) -> Result<Json<BulkBody>, Problem> {
    let (store, id) = (app.client().store(), call.part("id"));
    let changed = bulk::change(&**store, id, &Change::Cancel).await?;
    let by = call.principal.key.as_deref().unwrap_or("anonymous");
    tracing::info!(bulk = id, by, "bulk cancelled");
    Ok(Json(BulkBody::new(&changed.ok_or_else(|| unknown(&call))?)))
}

fn unknown(call: &Call) -> Problem {
    Problem::new(Kind::BulkUnknown, format!("there is no bulk {:?}", call.part("id")))
}

/// The bulk that a request asks for.
fn read(call: &Call, body: &BulkCommandBody) -> Result<Bulk, Problem> {
    let verb = call.part("id");
    let known = "retry, skip, compensate, cancel, pause, resume or stop";
    let verb = Verb::parse(verb).ok_or_else(|| Problem::field("command", verb, known))?;
    let rate = body.rate.unwrap_or(RATE);
    if !(1..=RATE_MAX).contains(&rate) {
        return Err(Problem::field("rate", &rate.to_string(), "sagas for each second, 1 to 1000"));
    }
    let one = CommandBody {
        reason: body.reason.clone(),
        actor: body.actor.clone(),
        step: body.step.clone(),
        assume: body.assume.clone(),
    };
    let actor = actor(&call.principal, body.actor.as_deref());
    for (field, text) in [("reason", &body.reason), ("actor", &actor)] {
        if text.trim().is_empty() || text.len() > saga_core::Command::TEXT_LEN_MAX {
            return Err(Problem::field(field, text, "1 to 1024 bytes"));
        }
        expect_readable(field, text)?;
    }
    let key = call.header("Idempotency-Key")?.map(IdempotencyKey::new).transpose();
    let key = key.map_err(|error| Problem::new(Kind::Malformed, error.to_string()))?;
    let id = match key {
        Some(key) => id_of(key.as_str()),
        None => uuid::Uuid::new_v4().simple().to_string(),
    };
    let started_ms = now_ms();
    Ok(Bulk {
        id,
        action: action(verb, &one)?,
        actor,
        reason: body.reason.clone(),
        filter: filter(&body.filter)?,
        rate,
        phase: Phase::Running,
        started_ms,
        ended_ms: None,
        before: SagaId::first_at(started_ms + 1),
        counts: Counts::default(),
        lease: None,
    })
}

/// The id of the bulk under a key: the same key is the same bulk, whoever asks twice.
pub(crate) fn id_of(key: &str) -> String {
    Digest::of(&[key.as_bytes()]).to_string()
}

fn filter(body: &BulkFilterBody) -> Result<Filter, Problem> {
    let BulkFilterBody { status, name, version, step, key_prefix, text, .. } = body.clone();
    let (started_after, started_before) = (body.started_after, body.started_before);
    for (field, text) in
        [("name", &name), ("step", &step), ("key_prefix", &key_prefix), ("text", &text)]
    {
        expect_printed(field, text.as_deref().unwrap_or_default())?;
    }
    let filter = Filter {
        statuses: status,
        name,
        version,
        step,
        key_prefix,
        text,
        started_after,
        started_before,
    };
    match (filter == Filter::default(), body.all) {
        (true, false) => Err(Problem::field(
            "filter",
            "(empty)",
            "at least one condition, or \"all\": true for every saga there is",
        )),
        (false, true) => Err(Problem::field("filter", "all", "either conditions or all, not both")),
        _ => Ok(filter),
    }
}

/// What would get the command.
async fn dry_run(app: &App, bulk: &Bulk) -> Result<BulkBody, Problem> {
    let mut shown = BulkBody::new(bulk);
    (shown.id, shown.state) = (String::new(), "dry_run".to_owned());
    let mut before = bulk.before;
    loop {
        let found = app.client().search(&bulk.filter.search(before, 500)).await?;
        shown.matched += found.rows.len() as u64;
        let room = SAMPLE - shown.sample.len();
        shown.sample.extend(found.rows.iter().take(room).map(|row| row.id));
        match found.next {
            Some(next) if shown.matched < COUNTED_MAX => before = next,
            next => {
                shown.more = next.is_some();
                return Ok(shown);
            }
        }
    }
}

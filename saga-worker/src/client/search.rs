//! Looking for sagas by more than the store's indexes know.

use std::time::Duration;

use saga_core::store::{Query, SagaRow, StoreError};
use saga_core::{SagaId, Timestamp, WaitReason};

use super::Client;

/// How far the time in an id may be off from the time of the start.
pub(crate) const ID_TIME_SLACK: Duration = Duration::from_secs(3_600);

/// What to look for. Empty fields match everything; all that are set have to match.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What the store finds by its indexes: statuses, name, key, the page before, the size of a page.
    pub query: Query,
    /// Only this version of the definition.
    pub version: Option<u32>,
    /// Only sagas that wait at this step: for an answer, a retry or a breaker, or stuck there. A saga
    /// that a worker is busy with this very moment says no step.
    pub step: Option<String>,
    /// Only keys that begin like this.
    pub key_prefix: Option<String>,
    /// Only sagas with this text in their id, their name, their key or the reason why they wait,
    /// whatever the case of its letters.
    pub text: Option<String>,
    /// Only sagas started at this time or later.
    pub started_after: Option<Timestamp>,
    /// Only sagas started before this time.
    pub started_before: Option<Timestamp>,
}

/// A page of sagas that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// They, newest first.
    pub rows: Vec<SagaRow>,
    /// The [`Query::before`] of the next page; `None` at the end. A page may be short, even empty,
    /// and have a next one: only so many rows are looked at for one page.
    pub next: Option<SagaId>,
}

impl Search {
    /// Most rows that are looked at for one page.
    pub const LOOKED_AT_MAX: usize = 10_000;

    fn is_plain(&self) -> bool {
        let Self { query: _, version, step, key_prefix, text, started_after, started_before } =
            self;
        let texts = [step, key_prefix, text];
        version.is_none()
            && texts.iter().all(|text| text.is_none())
            && started_after.is_none()
            && started_before.is_none()
    }

    fn wants(&self, row: &SagaRow) -> bool {
        let is_of = |wanted: &Option<u32>| wanted.is_none_or(|it| it == row.definition.version);
        let key = row.key.as_ref().map_or("", |key| key.as_str());
        is_of(&self.version)
            && self
                .step
                .as_deref()
                .is_none_or(|step| row.summary.wait.as_ref().and_then(at) == Some(step))
            && self.key_prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
            && self.started_after.is_none_or(|after| row.started_at >= after)
            && self.started_before.is_none_or(|before| row.started_at < before)
            && self.text.as_deref().is_none_or(|text| {
                let wait = row.summary.wait.as_ref().map(ToString::to_string).unwrap_or_default();
                let text = text.to_lowercase();
                [row.id.to_string().as_str(), &row.definition.name, key, &wait]
                    .iter()
                    .any(|field| field.to_lowercase().contains(&text))
            })
    }

    /// Ids hold the time of their start, so sagas started later need not be walked through.
    fn begin(&self) -> Option<SagaId> {
        let latest =
            self.started_before.map(|at| SagaId::first_at(millis(at.after(ID_TIME_SLACK)) + 1));
        match (self.query.before, latest) {
            (Some(before), Some(latest)) => Some(before.min(latest)),
            (before, latest) => before.or(latest),
        }
    }

    /// Whether everything before this id was started too early.
    fn is_over(&self, id: SagaId) -> bool {
        let slack = u64::try_from(ID_TIME_SLACK.as_millis()).unwrap_or(u64::MAX);
        self.started_after.is_some_and(|after| id.unix_ms() < millis(after).saturating_sub(slack))
    }
}

fn millis(at: Timestamp) -> u64 {
    at.as_micros().max(0).unsigned_abs() / 1_000
}

/// The step at which a saga waits.
fn at(wait: &WaitReason) -> Option<&str> {
    match wait {
        WaitReason::InFlight { step, .. }
        | WaitReason::Retry { step, .. }
        | WaitReason::BreakerOpen { step, .. } => Some(step),
        WaitReason::Stuck { step, .. } => step.as_deref(),
        WaitReason::Worker { .. }
        | WaitReason::Definition { .. }
        | WaitReason::NewerRelease { .. }
        | WaitReason::Paused { .. } => None,
    }
}

impl Client {
    /// A page of the sagas that match, newest first. Sagas that begin meanwhile are on no later page;
    /// none that was there from the first page to the last is left out.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    pub async fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let page = search.query.page() as usize;
        let mut query = search.query.clone();
        query.before = search.begin();
        if !search.is_plain() {
            query.limit = Query::LIMIT_MAX;
        }
        let (mut rows, mut looked_at) = (Vec::new(), 0);
        loop {
            let walked = self.store.find(&query).await?;
            let is_last = walked.len() < query.page() as usize;
            for row in walked {
                looked_at += 1;
                if search.is_over(row.id) {
                    return Ok(Found { rows, next: None });
                }
                query.before = Some(row.id);
                if search.wants(&row) {
                    rows.push(row);
                }
                if rows.len() == page || looked_at == Search::LOOKED_AT_MAX {
                    return Ok(Found { rows, next: query.before });
                }
            }
            if is_last {
                return Ok(Found { rows, next: None });
            }
        }
    }
}

//! The audit trail: who did what through an API, written before it is done.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::id::AuditId;
use crate::time::Timestamp;

/// The trail of what people and programs have done, or were refused.
///
/// An entry is made durable before the deed, and completed once with what became of it. It is never
/// changed otherwise, and it leaves by its age alone.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Records an entry, with its outcome if it has one already. The same entry recorded again
    /// changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the entry may have been recorded.
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// Completes an entry. Only the first outcome counts, and none is kept without its entry.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the outcome may have been recorded.
    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError>;

    /// The entries that match, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;

    /// Deletes entries that were made longer than `age` ago by the store's own clock, the oldest
    /// first and at most `limit` of them. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; entries may have been deleted.
    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError>;
}

/// One deed, or one that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its identity, which says when it was made.
    pub id: AuditId,
    /// Who: the id of the key. At most [`AuditEntry::WORD_LEN_MAX`] bytes.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// From which address, as far as that is known.
    pub remote: Option<String>,
    /// What. At most [`AuditEntry::WORD_LEN_MAX`] bytes.
    pub action: String,
    /// To what. At most [`AuditEntry::WORD_LEN_MAX`] bytes.
    pub target: Option<String>,
    /// Why, in the actor's words.
    pub reason: Option<String>,
    /// Under which key it can be repeated.
    pub request_id: Option<String>,
    /// What else was asked for: JSON by custom.
    pub detail: Option<String>,
    /// What became of it; `None` while it is under way, and for ever when nobody lived to tell.
    pub outcome: Option<AuditOutcome>,
}

impl AuditEntry {
    /// Longest text that entries are looked for by, in bytes.
    pub const WORD_LEN_MAX: usize = 255;
}

/// What became of a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOutcome {
    /// When.
    pub at: Timestamp,
    /// The status of the answer.
    pub status: u16,
    /// Why it was refused or failed, in a word.
    pub problem: Option<String>,
}

/// Which entries are looked for. Empty fields match everything.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only to this target.
    pub target: Option<String>,
    /// Only those made at this time or later.
    pub since: Option<Timestamp>,
    /// Only those made before this time.
    pub until: Option<Timestamp>,
    /// Only those before this one: the last of the page before.
    pub before: Option<AuditId>,
    /// At most this many; 0 means 100, and more than 500 is taken as 500.
    pub limit: u32,
}

impl AuditQuery {
    /// Largest page.
    pub const LIMIT_MAX: u32 = 500;

    /// The page size in force.
    pub fn page(&self) -> u32 {
        if self.limit == 0 { 100 } else { self.limit.min(Self::LIMIT_MAX) }
    }

    /// Every entry that is looked for has an id of at least the first and below the second.
    pub fn ids(&self) -> (AuditId, AuditId) {
        let first = AuditId::first_at(self.since.unwrap_or_default());
        let until = self.until.map_or(AuditId::LAST, AuditId::first_at);
        (first, self.before.map_or(until, |before| before.min(until)))
    }
}

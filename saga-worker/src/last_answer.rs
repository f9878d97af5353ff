//! Commands to sagas that have ended: no worker drives such a saga, so whoever sees one answers it.
//!
//! The answer follows from the log, which no longer changes. So it does not matter who gives it,
//! how many do at once, or whether the command came before the end or after it: all say the same,
//! and the store keeps the first.

use saga_core::store::{CommandAnswer, SagaRow, Store, StoreError};
use saga_core::{Command, Event, IdempotencyKey, LogError, Refusal};

/// Most log rows read at once.
const PAGE: u32 = 256;

/// Answers a command to a saga that has ended, unless it has been answered before; `false` when
/// that has to be left to a worker of the newer release that wrote in its log.
///
/// # Errors
/// When the store is not available; the command stays unanswered and is found again by a poll.
pub(crate) async fn answer_after_the_end(
    store: &dyn Store,
    row: &SagaRow,
    command: &Command,
) -> Result<bool, StoreError> {
    let answer = match accepted(store, row, &command.request_id).await {
        Ok(None) => return Ok(false),
        Ok(Some(true)) => CommandAnswer::Accepted,
        Ok(Some(false)) => {
            CommandAnswer::Refused(Refusal::Ended { verdict: row.summary.status.to_string() })
        }
        Err(StoreError::Corrupt(why)) => CommandAnswer::Refused(Refusal::LogDamaged { why }),
        Err(error) => return Err(error),
    };
    store.answer(row.id, &command.request_id, &answer, None).await.map(|()| true)
}

/// Whether the command is in the log: it may be the very one that ended the saga. `None` when it
/// is not in the part of the log that this release can read.
async fn accepted(
    store: &dyn Store,
    row: &SagaRow,
    request_id: &IdempotencyKey,
) -> Result<Option<bool>, StoreError> {
    let (mut after, mut newer) = (0, false);
    let is_it = |event: &Event| match event {
        Event::CommandAccepted(command) => command.request_id == *request_id,
        _ => false,
    };
    while after < row.seq {
        let rows = store.log(row.id, after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in &rows {
            match row.decode() {
                Ok(transition) if transition.events.iter().any(is_it) => return Ok(Some(true)),
                Ok(_) => {}
                Err(LogError::Newer { .. }) => newer = true,
                Err(error) => return Err(StoreError::Corrupt(error.to_string())),
            }
        }
    }
    Ok((!newer).then_some(false))
}

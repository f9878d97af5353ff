//! Commands to sagas that have ended: no worker drives such a saga, so whoever sees one answers it.
//!
//! The answer follows from the log, which no longer changes. So it does not matter who gives it,
//! how many do at once, or whether the command came before the end or after it: all say the same,
//! and the store keeps the first.

use saga_core::store::{CommandAnswer, SagaRow, Store, StoreError};
use saga_core::{Command, Event, IdempotencyKey, Refusal};

/// Most log rows read at once.
const PAGE: u32 = 256;

/// Answers a command to a saga that has ended, unless it has been answered before.
///
/// # Errors
/// When the store is not available; the command stays unanswered and is found again by a poll.
pub(crate) async fn answer_after_the_end(
    store: &dyn Store,
    row: &SagaRow,
    command: &Command,
) -> Result<(), StoreError> {
    let answer = match accepted(store, row, &command.request_id).await {
        Ok(true) => CommandAnswer::Accepted,
        Ok(false) => {
            CommandAnswer::Refused(Refusal::Ended { verdict: row.summary.status.to_string() })
        }
        Err(StoreError::Corrupt(why)) => CommandAnswer::Refused(Refusal::LogDamaged { why }),
        Err(error) => return Err(error),
    };
    store.answer(row.id, &command.request_id, &answer).await
}

/// Whether the command is in the log: it may be the very one that ended the saga.
async fn accepted(
    store: &dyn Store,
    row: &SagaRow,
    request_id: &IdempotencyKey,
) -> Result<bool, StoreError> {
    let is_it = |event: &Event| match event {
        Event::CommandAccepted(command) => command.request_id == *request_id,
        _ => false,
    };
    let mut after = 0;
    while after < row.seq {
        let rows = store.log(row.id, after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in &rows {
            let transition =
                row.decode().map_err(|error| StoreError::Corrupt(error.to_string()))?;
            if transition.events.iter().any(is_it) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

//! Operator commands: stored first, then carried out by the worker that owns the saga.

use std::time::Duration;

use saga_core::store::{CommandAnswer, StoreError, SubmitOutcome};
use saga_core::{Assume, Command, CommandAction, IdempotencyKey, PayloadError, Refusal, SagaId};
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::follow::Patience;
use crate::last_answer::answer_after_the_end;

/// Why a command was not carried out, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It makes no sense in the saga's state; nothing was changed.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// There is no such saga.
    #[error("there is no saga {id}")]
    NotFound {
        /// The id asked for.
        id: SagaId,
    },
    /// Another command was submitted under this request id.
    #[error(
        "request id \"{request_id}\" was used before for another command on saga {id}: use a new one"
    )]
    Conflict {
        /// The saga.
        id: SagaId,
        /// The request id.
        request_id: IdempotencyKey,
    },
    /// It is on record, but no worker has taken it up in time. It still will be.
    #[error("saga {id} did not answer within {} ms; the command is on record and will be carried out by the worker that takes the saga up", waited.as_millis())]
    Unanswered {
        /// The saga.
        id: SagaId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Client {
    /// Longest wait of [`Client::command`] for an answer.
    pub const ANSWER_WAIT: Duration = Duration::from_secs(30);

    /// Gives a command to a saga and waits until it is carried out or refused.
    ///
    /// Repeating it with the same request id has no further effect and gets the same answer.
    ///
    /// # Errors
    /// [`CommandError::Refused`] with an explanation where it makes no sense; see there for others.
    pub async fn command(&self, id: SagaId, command: Command) -> Result<(), CommandError> {
        command.check()?;
        self.check_size(&command)?;
        let deadline = Instant::now() + Self::ANSWER_WAIT;
        let mut patience = Patience::new(self, id);
        loop {
            match self.store.submit(id, &command).await? {
                SubmitOutcome::Answered(CommandAnswer::Accepted) => return Ok(()),
                SubmitOutcome::Answered(CommandAnswer::Refused(refusal)) => {
                    return Err(refusal.into());
                }
                SubmitOutcome::NotFound => return Err(CommandError::NotFound { id }),
                SubmitOutcome::Conflict => {
                    return Err(CommandError::Conflict { id, request_id: command.request_id });
                }
                SubmitOutcome::Queued => {}
            }
            let row = self.store.row(id).await?.ok_or(CommandError::NotFound { id })?;
            if !row.summary.status.is_alive()
                && Instant::now() < deadline
                // It may be what ended the saga, so the log is asked; the first answer stands.
                && answer_after_the_end(self.store.as_ref(), &row, &command).await?
            {
                continue;
            }
            if let Some(runtime) = self.runtime.upgrade() {
                runtime.ring(id);
            }
            if timeout_at(deadline, patience.wait()).await.is_err() {
                return Err(CommandError::Unanswered { id, waited: Self::ANSWER_WAIT });
            }
        }
    }

    /// An output to assume is bounded like any other, before it is put into the inbox. Whether it
    /// is of the step's type is for the worker to say, which has the code.
    fn check_size(&self, command: &Command) -> Result<(), Refusal> {
        let CommandAction::Skip { step, assume: Assume::Processed(output) } = &command.action
        else {
            return Ok(());
        };
        let refuse =
            |error: PayloadError| Refusal::Output { step: step.clone(), why: error.to_string() };
        output.clone().within(self.payload_bytes_max).map(drop).map_err(refuse)
    }

    /// Asks for backward recovery. Refused once the pivot was handed out.
    ///
    /// A short form of [`Client::command`] with a request id of its own; give one yourself where
    /// the request may be repeated.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn cancel(
        &self,
        id: SagaId,
        actor: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<(), CommandError> {
        let request_id = IdempotencyKey::new(format!("{:032x}", self.entropy.bits()));
        let request_id = request_id.expect("32 hexadecimal digits are short and printable");
        let (actor, reason) = (actor.into(), reason.into());
        self.command(
            id,
            Command {
                request_id,
                actor,
                reason,
                action: CommandAction::Cancel,
                expected_seq: None,
            },
        )
        .await
    }
}

//! Operator commands on their way to the worker that owns the saga.

use async_trait::async_trait;
use saga_core::store::{CommandAnswer, Inbox, Owner, StoreError, SubmitOutcome};
use saga_core::{Command, IdempotencyKey, SagaId, WorkerId};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{self, PendingColumns, json};

#[async_trait]
impl Inbox for PostgresStore {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        let outcome = match self.lanes.run(Submit { id, command: command.clone() }).await? {
            None => SubmitOutcome::NotFound,
            Some((body, _)) if row::command(id, &body)? != *command => SubmitOutcome::Conflict,
            Some((_, Some(answer))) => SubmitOutcome::Answered(row::answer(id, &answer)?),
            Some((_, None)) => SubmitOutcome::Queued,
        };
        if outcome == SubmitOutcome::Queued {
            self.hint.give();
        }
        Ok(outcome)
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        let rows = self.lanes.run(Pending { worker, limit }).await?;
        Ok(row::readable(rows, row::pending, "the pending commands"))
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        let bodies = self.lanes.run(Commands { id }).await?;
        bodies.iter().map(|body| row::command(id, body)).collect()
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        let (request_id, answer) = (request_id.clone(), answer.clone());
        self.lanes.run(Answer { id, request_id, answer, by }).await
    }
}

/// Stores a command if it is new, and reads back what is on record.
struct Submit {
    id: SagaId,
    command: Command,
}

#[async_trait]
impl Work for Submit {
    /// Body and answer on record; none when there is no such saga.
    type Outcome = Option<(String, Option<String>)>;

    fn what(&self) -> String {
        format!("submitting a command to saga {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        let (bucket, id) = (self.id.bucket().number(), self.id.to_bytes());
        let submitted = sqlx::query(include_str!("submit.sql"))
            .bind(bucket)
            .bind(&id[..])
            .bind(self.command.request_id.as_str())
            .bind(json(&self.command))
            .execute(&mut *db)
            .await?;
        let on_record: Self::Outcome = sqlx::query_as(include_str!("submit_existing.sql"))
            .bind(bucket)
            .bind(&id[..])
            .bind(self.command.request_id.as_str())
            .fetch_optional(&mut *db)
            .await?;
        if submitted.rows_affected() == 0 && matches!(on_record, Some((_, None))) {
            // Asked again and still unanswered: whoever asks wants it to be looked at now.
            sqlx::query(include_str!("submit_wake.sql"))
                .bind(bucket)
                .bind(&id[..])
                .execute(db)
                .await?;
        }
        Ok(on_record)
    }
}

struct Pending {
    worker: WorkerId,
    limit: u32,
}

#[async_trait]
impl Work for Pending {
    type Outcome = Vec<PendingColumns>;

    fn what(&self) -> String {
        "reading table saga_command".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("pending.sql"))
            .bind(&self.worker.to_bytes()[..])
            .bind(i64::from(self.limit))
            .fetch_all(db)
            .await
    }
}

struct Commands {
    id: SagaId,
}

#[async_trait]
impl Work for Commands {
    type Outcome = Vec<String>;

    fn what(&self) -> String {
        format!("reading table saga_command, rows of {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_scalar(include_str!("commands.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .fetch_all(db)
            .await
    }
}

struct Answer {
    id: SagaId,
    request_id: IdempotencyKey,
    answer: CommandAnswer,
    by: Option<Owner>,
}

#[async_trait]
impl Work for Answer {
    type Outcome = ();

    fn what(&self) -> String {
        format!("answering a command to saga {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let answered = sqlx::query(include_str!("answer.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .bind(self.request_id.as_str())
            .bind(json(&self.answer))
            .bind(self.by.map(|by| by.worker.to_bytes().to_vec()))
            .bind(self.by.map(|by| row::integer(by.epoch)))
            .execute(db);
        answered.await.map(drop)
    }
}

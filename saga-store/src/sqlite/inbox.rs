//! Operator commands on their way to the worker that owns the saga.

use async_trait::async_trait;
use saga_core::store::{CommandAnswer, Inbox, StoreError, SubmitOutcome};
use saga_core::{Command, IdempotencyKey, SagaId, WorkerId};
use sqlx::{Error, SqliteConnection};

use super::failure::classify;
use super::writer::Change;
use super::{BUCKET, SqliteStore};
use crate::row::{self, json};

#[async_trait]
impl Inbox for SqliteStore {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        self.writer.write(Submit { id, command: command.clone() }).await?
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        self.reader.read(move |mut db| async move { pending(&mut db, worker, limit).await }).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.reader.read(move |mut db| async move { commands(&mut db, id).await }).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
    ) -> Result<(), StoreError> {
        let (request_id, answer) = (request_id.clone(), answer.clone());
        self.writer.write(Answer { id, request_id, answer }).await
    }
}

struct Submit {
    id: SagaId,
    command: Command,
}

#[async_trait]
impl Change for Submit {
    type Outcome = Result<SubmitOutcome, StoreError>;

    async fn run(&self, db: &mut SqliteConnection) -> Result<Self::Outcome, Error> {
        let (bucket, id) = (self.id.bucket().number(), self.id.to_bytes());
        let submitted = sqlx::query(include_str!("submit.sql"))
            .bind(bucket)
            .bind(&id[..])
            .bind(self.command.request_id.as_str())
            .bind(json(&self.command))
            .execute(&mut *db)
            .await?;
        if submitted.rows_affected() == 0 {
            let existing: Option<(String, Option<String>)> =
                sqlx::query_as(include_str!("submit_existing.sql"))
                    .bind(bucket)
                    .bind(&id[..])
                    .bind(self.command.request_id.as_str())
                    .fetch_optional(&mut *db)
                    .await?;
            let outcome = self.outcome(existing);
            if !matches!(outcome, Ok(SubmitOutcome::Queued)) {
                return Ok(outcome);
            }
        }
        let woken =
            sqlx::query(include_str!("submit_wake.sql")).bind(bucket).bind(&id[..]).execute(db);
        woken.await?;
        Ok(Ok(SubmitOutcome::Queued))
    }

    fn makes_due(&self, outcome: &Self::Outcome) -> bool {
        matches!(outcome, Ok(SubmitOutcome::Queued))
    }
}

impl Submit {
    /// What a command means that was not taken on, given the one on record under its request id.
    fn outcome(
        &self,
        existing: Option<(String, Option<String>)>,
    ) -> Result<SubmitOutcome, StoreError> {
        let Some((body, answer)) = existing else { return Ok(SubmitOutcome::NotFound) };
        if row::command(self.id, &body)? != self.command {
            return Ok(SubmitOutcome::Conflict);
        }
        match answer {
            Some(answer) => Ok(SubmitOutcome::Answered(row::answer(self.id, &answer)?)),
            None => Ok(SubmitOutcome::Queued),
        }
    }
}

struct Answer {
    id: SagaId,
    request_id: IdempotencyKey,
    answer: CommandAnswer,
}

#[async_trait]
impl Change for Answer {
    type Outcome = ();

    async fn run(&self, db: &mut SqliteConnection) -> Result<(), Error> {
        let answered = sqlx::query(include_str!("answer.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .bind(self.request_id.as_str())
            .bind(json(&self.answer))
            .execute(db);
        answered.await.map(drop)
    }
}

async fn pending(
    db: &mut SqliteConnection,
    worker: WorkerId,
    limit: u32,
) -> Result<Vec<(SagaId, Command)>, StoreError> {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(include_str!("pending.sql"))
        .bind(BUCKET)
        .bind(&worker.to_bytes()[..])
        .bind(limit)
        .fetch_all(db)
        .await
        .map_err(|error| classify("reading table saga_command", &error))?;
    let readable = rows.into_iter().map(|(id, body)| {
        let id = row::saga_id("saga_command", &id)?;
        Ok((id, row::command(id, &body)?))
    });
    readable.collect()
}

async fn commands(db: &mut SqliteConnection, id: SagaId) -> Result<Vec<Command>, StoreError> {
    let bodies: Vec<String> = sqlx::query_scalar(include_str!("commands.sql"))
        .bind(id.bucket().number())
        .bind(&id.to_bytes()[..])
        .fetch_all(db)
        .await
        .map_err(|error| {
            classify(format_args!("reading table saga_command, rows of {id}"), &error)
        })?;
    bodies.iter().map(|body| row::command(id, body)).collect()
}

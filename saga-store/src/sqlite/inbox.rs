//! Operator commands on their way to the worker that owns the saga.

use async_trait::async_trait;
use rusqlite::{Connection, Result, params};
use saga_core::store::{CommandAnswer, Inbox, Owner, StoreError, SubmitOutcome};
use saga_core::{Command, IdempotencyKey, SagaId, WorkerId};

use super::failure::classify;
use super::statement::{all, each, execute, first};
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
        self.reader.read(move |db| pending(db, worker, limit)).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.reader.read(move |db| commands(db, id)).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        let (request_id, answer) = (request_id.clone(), answer.clone());
        self.writer.write(Answer { id, request_id, answer, by }).await
    }
}

struct Submit {
    id: SagaId,
    command: Command,
}

impl Change for Submit {
    type Outcome = Result<SubmitOutcome, StoreError>;

    fn run(&self, db: &Connection) -> Result<Self::Outcome> {
        let (bucket, id) = (self.id.bucket().number(), self.id.to_bytes());
        let request_id = self.command.request_id.as_str();
        let params = params![bucket, id, request_id, json(&self.command)];
        if execute(db, include_str!("submit.sql"), params)? == 0 {
            let params = params![bucket, id, request_id];
            let outcome = self.outcome(first(db, include_str!("submit_existing.sql"), params)?);
            if !matches!(outcome, Ok(SubmitOutcome::Queued)) {
                return Ok(outcome);
            }
        }
        execute(db, include_str!("submit_wake.sql"), params![bucket, id])?;
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
    by: Option<Owner>,
}

impl Change for Answer {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        let params = params![
            self.id.bucket().number(),
            self.id.to_bytes(),
            self.request_id.as_str(),
            json(&self.answer),
            self.by.map(|by| by.worker.to_bytes()),
            self.by.map(|by| row::integer(by.epoch)),
        ];
        execute(db, include_str!("answer.sql"), params).map(drop)
    }
}

fn pending(
    db: &Connection,
    worker: WorkerId,
    limit: u32,
) -> Result<Vec<(SagaId, Command)>, StoreError> {
    let params = params![BUCKET, worker.to_bytes(), limit];
    let what = "reading table saga_command";
    let rows = each(db, include_str!("pending.sql"), params, what)
        .map_err(|error| classify(what, &error))?;
    Ok(row::readable(rows, |row| row::pending(row?), "the pending commands"))
}

fn commands(db: &Connection, id: SagaId) -> Result<Vec<Command>, StoreError> {
    let params = params![id.bucket().number(), id.to_bytes()];
    let bodies = all::<(String,)>(db, include_str!("commands.sql"), params).map_err(|error| {
        classify(format_args!("reading table saga_command, rows of {id}"), &error)
    })?;
    bodies.iter().map(|(body,)| row::command(id, body)).collect()
}

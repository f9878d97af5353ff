//! Double-entry books: what a service has, what sagas hold of it, and proof that the two agree.
//!
//! Business code calls [`post`] inside the transaction of the barrier. [`Books::read`] computes the
//! books twice, from the account rows and from the append-only ledger of movements, and compares.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use saga_participant::{CallIdentity, Op, Problem, problem};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

/// The tables that [`post`] and [`Books::read`] use; creates them where they do not exist.
pub const SCHEMA: &str = include_str!("books.sql");

/// Whose books they are and what they count.
#[derive(Debug, Clone, Copy)]
pub struct Title {
    /// The name of the service, for instance `inventory`.
    pub service: &'static str,
    /// What one unit in the books is, for instance `units of stock`.
    pub unit: &'static str,
}

/// The state of a service's books; the body of `GET /books`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// The name of the service.
    pub service: String,
    /// What one unit is.
    pub unit: String,
    /// What there was before the first saga.
    pub opening: i64,
    /// What is free now.
    pub balance: i64,
    /// What sagas hold now.
    pub held: i64,
    /// What each saga did, in the order of its first effect.
    pub movements: Vec<Movement>,
    /// Whether in every account opening = balance + held, and held is the sum of its movements.
    pub arithmetic_ok: bool,
}

/// The effects of one saga on a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The id of the saga.
    pub saga_id: String,
    /// How often its action took effect; more than 1 is a doubled effect.
    pub action_effects: i64,
    /// How often its compensation took effect.
    pub compensation_effects: i64,
    /// How many units one effect moved.
    pub amount: i64,
}

impl Movement {
    fn from_row(row: (String, i64, i64, i64)) -> Movement {
        let (saga_id, action_effects, compensation_effects, amount) = row;
        Movement { saga_id, action_effects, compensation_effects, amount }
    }
}

/// Books one effect of a call: an action moves `amount` from the account's balance to what is
/// held, a compensation moves it back. An amount of 0 is no effect and leaves no trace.
///
/// # Errors
/// [`sqlx::Error::RowNotFound`] when there is no such account; any other error of the database.
pub async fn post(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
    account: &str,
    amount: u32,
) -> Result<(), sqlx::Error> {
    if amount == 0 {
        return Ok(());
    }
    let amount = i64::from(amount);
    let taken = match identity.op {
        Op::Action => amount,
        Op::Compensation => -amount,
    };
    let moved =
        sqlx::query("UPDATE account SET balance = balance - $1, held = held + $1 WHERE name = $2")
            .bind(taken)
            .bind(account)
            .execute(&mut *tx)
            .await?;
    if moved.rows_affected() == 0 {
        return Err(sqlx::Error::RowNotFound);
    }
    sqlx::query(
        "INSERT INTO movement (saga_id, step, op, account, amount) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&identity.saga_id)
    .bind(&identity.step)
    .bind(identity.op.as_str())
    .bind(account)
    .bind(amount)
    .execute(tx)
    .await?;
    Ok(())
}

/// The free balance of an account; `None` when there is no such account.
///
/// # Errors
/// When the database cannot be read.
pub async fn balance(tx: &mut SqliteConnection, account: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT balance FROM account WHERE name = $1")
        .bind(account)
        .fetch_optional(tx)
        .await
}

impl Books {
    /// Reads the books as of one instant.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read(pool: &SqlitePool, title: Title) -> Result<Books, sqlx::Error> {
        let mut snapshot = pool.begin().await?;
        let (opening, balance, held) = sqlx::query_as(
            "SELECT coalesce(sum(opening), 0), coalesce(sum(balance), 0), coalesce(sum(held), 0) \
             FROM account",
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let accounts_in_error: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM account LEFT JOIN \
                 (SELECT account, sum(iif(op = 'action', amount, -amount)) AS moved \
                  FROM movement GROUP BY account) ON account = name \
             WHERE opening <> balance + held OR held <> coalesce(moved, 0)",
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let movements = sqlx::query_as(
            "SELECT saga_id, sum(op = 'action'), sum(op = 'compensation'), max(amount) \
             FROM movement GROUP BY saga_id ORDER BY min(id)",
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.rollback().await?;
        Ok(Books {
            service: title.service.to_owned(),
            unit: title.unit.to_owned(),
            opening,
            balance,
            held,
            movements: movements.into_iter().map(Movement::from_row).collect(),
            arithmetic_ok: accounts_in_error == 0,
        })
    }
}

/// The handler of `GET /books`.
pub async fn show(State((pool, title)): State<(SqlitePool, Title)>) -> Response {
    // In a task of its own: a client that hangs up must not leave the snapshot open on its
    // pooled connection.
    match tokio::spawn(async move { Books::read(&pool, title).await }).await {
        Ok(Ok(books)) => Json(books).into_response(),
        Ok(Err(error)) => unreadable(title, &error),
        Err(error) => unreadable(title, &error),
    }
}

fn unreadable(title: Title, error: &dyn std::error::Error) -> Response {
    let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
    let detail = format!("the books of `{}` cannot be read: {error}", title.service);
    Problem::new(problem::FAILED, "The books cannot be read", status, detail).into_response()
}

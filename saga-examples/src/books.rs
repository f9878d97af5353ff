//! Double-entry books: what a service has, what sagas hold of it, and proof that the two agree.
//!
//! Business code calls [`post`] inside the transaction of the barrier. [`Books::read`] computes the
//! books twice, from the account rows and from the append-only ledger of movements, and compares.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use saga_participant::{CallIdentity, Op, Problem, problem};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, Pool, SqlSafeStr as _};
use tokio::time::timeout;

use crate::sql::{Home, Pair, Schema, Sql, SqlError};

/// The tables that [`post`] and [`Books::read`] use; creates them where they do not exist.
pub const SCHEMA: Schema = Schema {
    sqlite: include_str!("sqlite/books.sql"),
    postgres: include_str!("postgres/books.sql"),
};

/// How long one reading may take.
const READ_MAX: Duration = Duration::from_secs(10);
/// More often than a pool has connections, which may all be dead.
const TRIES_MAX: u32 = 10;

// PostgreSQL sums big integers to numerics, so the sums are cast back.

const TOTALS: &str = "\
    SELECT CAST(coalesce(sum(opening), 0) AS BIGINT), \
           CAST(coalesce(sum(balance), 0) AS BIGINT), \
           CAST(coalesce(sum(held), 0) AS BIGINT) \
    FROM account";

/// A movement of an account that is not there is one as well.
const ACCOUNTS_IN_ERROR: &str = "\
    SELECT count(*) \
    FROM account FULL JOIN \
         (SELECT account, sum(CASE op WHEN 'action' THEN amount ELSE -amount END) AS moved \
          FROM movement GROUP BY account) AS ledger ON account = name \
    WHERE name IS NULL OR opening <> balance + held OR held <> coalesce(moved, 0)";

const MOVEMENTS: &str = "\
    SELECT saga_id, \
           CAST(sum(CASE op WHEN 'action' THEN 1 ELSE 0 END) AS BIGINT), \
           CAST(sum(CASE op WHEN 'compensation' THEN 1 ELSE 0 END) AS BIGINT), \
           max(amount) \
    FROM movement GROUP BY saga_id ORDER BY min(id)";

/// Moves an amount and records the movement.
const POST: Pair = Pair {
    sqlite: ["UPDATE account SET balance = balance - $1, held = held + $1 WHERE name = $2", RECORD],
    postgres: "WITH moved AS ( \
           UPDATE account SET balance = balance - $1, held = held + $1 WHERE name = $2 \
           RETURNING name \
         ) \
         INSERT INTO movement (saga_id, step, op, account, amount) \
         SELECT $3, $4, $5, name, $6 FROM moved",
};

/// The same where the balance suffices.
const TAKE: Pair = Pair {
    sqlite: [
        "UPDATE account SET balance = balance - $1, held = held + $1 \
         WHERE name = $2 AND balance >= $1",
        RECORD,
    ],
    postgres: "WITH moved AS ( \
           UPDATE account SET balance = balance - $1, held = held + $1 \
           WHERE name = $2 AND balance >= $1 \
           RETURNING name \
         ) \
         INSERT INTO movement (saga_id, step, op, account, amount) \
         SELECT $3, $4, $5, name, $6 FROM moved",
};

const RECORD: &str =
    "INSERT INTO movement (saga_id, step, op, account, amount) VALUES ($3, $4, $5, $2, $6)";

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
/// held, whatever is left there; a compensation moves it back. An amount of 0 is no effect and leaves
/// no trace.
///
/// # Errors
/// [`SqlError::NoRow`] when there is no such account; any other error of the database.
pub async fn post<DB: Sql>(
    tx: &mut DB::Tx,
    identity: &CallIdentity,
    account: &str,
    amount: u32,
) -> Result<(), SqlError> {
    if amount == 0 {
        return Ok(());
    }
    let taken = match identity.op {
        Op::Action => i64::from(amount),
        Op::Compensation => -i64::from(amount),
    };
    match change::<DB>(tx, POST, identity, account, amount, taken).await? {
        0 => Err(SqlError::NoRow),
        _ => Ok(()),
    }
}

/// Books the effect of an action as [`post`] does, but only where there is enough.
///
/// # Errors
/// When the database fails.
pub async fn take<DB: Sql>(
    tx: &mut DB::Tx,
    identity: &CallIdentity,
    account: &str,
    amount: u32,
) -> Result<Taken, SqlError> {
    // What looks also takes, so that nobody can come in between.
    if amount > 0 && change::<DB>(tx, TAKE, identity, account, amount, amount.into()).await? > 0 {
        return Ok(Taken::All);
    }
    let left = "SELECT balance FROM account WHERE name = $1";
    let left = DB::fetch_optional::<(i64,)>(tx, left, &[account.into()]).await?;
    Ok(match left {
        None => Taken::NoAccount,
        Some(_) if amount == 0 => Taken::All,
        // Given back between the two statements: no reason to reject any more.
        Some((left,)) if left >= i64::from(amount) => return Err(SqlError::Changed),
        Some((left,)) => Taken::TooLittle { left },
    })
}

/// What came of a [`take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The amount is held now.
    All,
    /// Nothing was taken: there is less.
    TooLittle {
        /// What there is.
        left: i64,
    },
    /// There is no such account.
    NoAccount,
}

/// Takes from the balance of an account what is then held, and records the movement. Returns 0 where
/// the account is not there, or has less and should not.
async fn change<DB: Sql>(
    tx: &mut DB::Tx,
    change: Pair,
    identity: &CallIdentity,
    account: &str,
    amount: u32,
    taken: i64,
) -> Result<u64, SqlError> {
    let CallIdentity { saga_id, step, op } = identity;
    let values = [
        taken.into(),
        account.into(),
        saga_id.into(),
        step.into(),
        op.as_str().into(),
        amount.into(),
    ];
    DB::execute_pair(tx, change, &values).await
}

impl Books {
    /// Reads the books as of one instant. A connection that fails is replaced and the reading
    /// begun again, so a server that was started anew is no error.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read<DB: Home>(pool: &Pool<DB>, title: Title) -> Result<Books, SqlError> {
        let mut tries = 1;
        loop {
            let mut connection = pool.acquire().await?;
            let books = timeout(READ_MAX, Books::snapshot::<DB>(&mut connection, title));
            let out_of_time = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into());
            match books.await.unwrap_or_else(out_of_time) {
                Ok(books) => return Ok(books),
                // Its transaction may be open still, or it may be dead: nobody shall have it again.
                Err(_) if tries < TRIES_MAX => drop(connection.detach()),
                Err(error) => {
                    drop(connection.detach());
                    return Err(error);
                }
            }
            tries += 1;
        }
    }

    async fn snapshot<DB: Home>(connection: &mut DB::Tx, title: Title) -> Result<Books, SqlError> {
        let mut snapshot = connection.begin_with(DB::BEGIN_SNAPSHOT.into_sql_str()).await?;
        let (opening, balance, held) = DB::fetch_one(&mut snapshot, TOTALS, &[]).await?;
        let (accounts_in_error,): (i64,) =
            DB::fetch_one(&mut snapshot, ACCOUNTS_IN_ERROR, &[]).await?;
        let movements = DB::fetch(&mut snapshot, MOVEMENTS, &[]).await?;
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
pub async fn show<DB: Home>(State((pool, title)): State<(Pool<DB>, Title)>) -> Response {
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

//! Business code, and why it did not do what a call asks for.

use std::error::Error;
use std::time::Duration;

/// Business code that the barrier runs inside its transaction: an async closure
/// `async |tx: &mut Connection| -> Result<T, Refusal>` for an action, and
/// `async |tx: &mut Connection, output: O| -> Result<T, Refusal>` for a compensation, where
/// `output` is what the action answered.
///
/// Implemented for every such closure whose future is `Send`; nobody implements it by hand. It
/// exists because the transaction runs in a task of its own, and `AsyncFnOnce` cannot yet demand a
/// `Send` future.
///
/// It must not end the transaction: commit and rollback are the barrier's.
pub trait Business<'c, C: 'c, Args, T> {
    /// What the closure returns.
    type Future: Future<Output = Result<T, Refusal>> + Send + 'c;

    /// Runs the closure on `connection`.
    fn run(self, connection: &'c mut C, args: Args) -> Self::Future;
}

impl<'c, C: 'c, T, F, Fut> Business<'c, C, (), T> for F
where
    F: FnOnce(&'c mut C) -> Fut,
    Fut: Future<Output = Result<T, Refusal>> + Send + 'c,
{
    type Future = Fut;

    fn run(self, connection: &'c mut C, (): ()) -> Fut {
        self(connection)
    }
}

impl<'c, C: 'c, O, T, F, Fut> Business<'c, C, (O,), T> for F
where
    F: FnOnce(&'c mut C, O) -> Fut,
    Fut: Future<Output = Result<T, Refusal>> + Send + 'c,
{
    type Future = Fut;

    fn run(self, connection: &'c mut C, (output,): (O,)) -> Fut {
        self(connection, output)
    }
}

/// Why business code did not do what a call asks for.
///
/// Whatever it wrote is rolled back in every case. `?` on an error of sqlx, rusqlite or serde_json
/// gives [`Refusal::Failed`]; give your own errors a `From` that says which of the three they are.
#[derive(Debug)]
pub enum Refusal {
    /// The business says no, with the reason. The rejection of an action is recorded and final:
    /// every further attempt gets it again. The rejection of a compensation is answered but not
    /// recorded, for a compensation must succeed once a person has removed the cause. A retriable
    /// step must not reject either; use `Failed` there.
    Rejected(String),
    /// Not now, with the reason; for instance another saga holds a semantic lock. Not recorded.
    NotYet {
        /// Why not now, for a person.
        reason: String,
        /// When the engine should come again.
        retry_after: Duration,
    },
    /// The participant failed. Not recorded; the engine takes it as unknown and comes again.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Refusal {
    /// The business says no.
    #[must_use]
    pub fn rejected(reason: impl Into<String>) -> Refusal {
        Refusal::Rejected(reason.into())
    }

    /// The business can say neither yes nor no before `retry_after` has passed.
    #[must_use]
    pub fn not_yet(reason: impl Into<String>, retry_after: Duration) -> Refusal {
        Refusal::NotYet { reason: reason.into(), retry_after }
    }

    /// The participant failed; a text will do as the error.
    #[must_use]
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Refusal {
        Refusal::Failed(error.into())
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Refusal::failed(error)
    }
}

#[cfg(feature = "rusqlite")]
impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Refusal::failed(error)
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Refusal::failed(error)
    }
}

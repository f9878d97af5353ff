//! The books of the participants: durable, shared by the processes of all workers, with a barrier.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use rusqlite::Connection;
use saga_core::{Failure, StepContext};
use saga_participant::{CallIdentity, GroupedBarrier, Op};

/// How long a process waits while another one writes.
const BUSY_MAX: Duration = Duration::from_secs(30);

const EFFECTS: &str = "CREATE TABLE IF NOT EXISTS effect (saga TEXT NOT NULL, step TEXT NOT NULL)";
const EFFECT: &str = "INSERT INTO effect (saga, step) VALUES (?1, ?2)";
const COUNT: &str = "SELECT count(*) FROM effect";
const TWICE: &str = "SELECT count(*) FROM (
    SELECT 1 FROM effect GROUP BY saga, step HAVING count(*) > 1
)";

/// The right to make entries. An effect is a row that nothing but the barrier keeps from being
/// entered twice, so that a mistake would be seen.
#[derive(Clone)]
pub(crate) struct Books(GroupedBarrier);

impl Books {
    /// Opens the file, and makes its tables where there are none.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY_MAX)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute(EFFECTS, ())?;
        let barrier = GroupedBarrier::start(db)?;
        barrier.migrate().await?;
        Ok(Self(barrier))
    }

    /// Enters the effect of an action, once, however often it is asked to.
    pub(crate) async fn enter(&self, context: &StepContext) -> Result<(), Failure> {
        let identity = CallIdentity {
            saga_id: context.saga_id.to_string(),
            step: context.step.to_string(),
            op: Op::Action,
        };
        let entry = (identity.saga_id.clone(), identity.step.clone());
        let entered = self.0.act(&identity, move |db| {
            db.execute(EFFECT, (&entry.0, &entry.1))?;
            Ok(())
        });
        let answer = entered.await?;
        if answer.is_processed() {
            return Ok(());
        }
        Err(Failure::rejected(format!("the books refused it: {}", answer.body())))
    }
}

/// Checks that the books hold so many effects, and none of them twice.
pub(crate) fn check(path: &Path, wanted: u64) -> anyhow::Result<()> {
    let db = Connection::open(path)?;
    let count = |question| db.query_row(question, (), |row| row.get(0).map(i64::unsigned_abs));
    let (effects, twice) = (count(COUNT)?, count(TWICE)?);
    ensure!(twice == 0, "{twice} effects happened twice");
    ensure!(effects == wanted, "the books hold {effects} effects, expected {wanted}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_that_happened_twice_or_is_missing_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.db");
        let db = Connection::open(&path).unwrap();
        db.execute(EFFECTS, ()).unwrap();
        for step in ["reserve", "capture"] {
            db.execute(EFFECT, ("a", step)).unwrap();
        }
        check(&path, 2).unwrap();
        assert!(check(&path, 3).unwrap_err().to_string().contains("expected 3"));
        db.execute(EFFECT, ("a", "capture")).unwrap();
        assert!(check(&path, 3).unwrap_err().to_string().contains("happened twice"));
    }
}

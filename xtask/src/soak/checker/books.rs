//! The books of the participants: what each step of each saga did there.

use std::collections::HashMap;

use saga_core::SagaId;

use crate::soak::crew::{Crew, SERVICES};
use crate::soak::sql::Reader;
use crate::soak::tally::Tally;

const MOVEMENTS: &str = "\
    SELECT saga_id, step, CAST(sum(CASE op WHEN 'action' THEN 1 ELSE 0 END) AS BIGINT), \
           CAST(sum(CASE op WHEN 'compensation' THEN 1 ELSE 0 END) AS BIGINT), \
           CAST(sum(CASE op WHEN 'action' THEN amount ELSE -amount END) AS BIGINT) \
    FROM movement GROUP BY saga_id, step";
const ACCOUNTS_IN_ERROR: &str = "\
    SELECT count(*) FROM account LEFT JOIN \
         (SELECT account, sum(CASE op WHEN 'action' THEN amount ELSE -amount END) AS moved \
          FROM movement GROUP BY account) AS ledger ON account = name \
    WHERE opening <> balance + held OR held <> coalesce(moved, 0)";

/// What one step of one saga did at its participant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// How often the action took effect.
    pub actions: i64,
    /// How often the compensation did.
    pub compensations: i64,
    /// What is left of both, in the participant's unit.
    pub net: i64,
}

/// The effects at all participants.
#[derive(Debug, Default)]
pub(super) struct Books {
    effects: HashMap<(String, String), Effects>,
    /// Accounts of each participant whose sums contradict each other.
    in_error: Vec<(&'static str, i64)>,
}

impl Books {
    /// Reads the books of every participant.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn read(crew: &Crew) -> anyhow::Result<Self> {
        let mut books = Self::default();
        for service in SERVICES {
            let mut reader = Reader::new(crew.ground.books(service));
            let rows: Vec<(String, String, i64, i64, i64)> = reader.rows(MOVEMENTS, &[]).await?;
            for (saga, step, actions, compensations, net) in rows {
                books.effects.insert((saga, step), Effects { actions, compensations, net });
            }
            books.in_error.push((service, reader.number(ACCOUNTS_IN_ERROR, &[]).await?));
        }
        Ok(books)
    }

    /// What a step of a saga did.
    pub(super) fn effects(&self, saga: &str, step: &str) -> Effects {
        let key = (saga.to_owned(), step.to_owned());
        self.effects.get(&key).copied().unwrap_or_default()
    }

    /// S7: there is no effect of a saga that is in no log.
    pub(super) fn check_strangers(&self, tally: &Tally, is_known: impl Fn(SagaId) -> bool) {
        for (saga, step) in self.effects.keys() {
            if !saga.parse::<SagaId>().is_ok_and(&is_known) {
                tally.violated(
                    "S7",
                    format!("{step} took effect for saga {saga}, which has no log"),
                );
            }
        }
    }

    /// The participants' own arithmetic, without which nothing else here would mean anything.
    pub(super) fn check_arithmetic(&self, tally: &Tally) {
        for (service, accounts) in self.in_error.iter().filter(|(_, accounts)| *accounts > 0) {
            let what = format!("{accounts} accounts of {service} contradict their movements");
            tally.violated("books", what);
        }
    }
}

//! Every invariant of the contract that can be checked from the outside, by SQL over the logs of the
//! sagas and the books of the participants.

mod books;
mod calls;
mod effects;
mod logs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use saga_core::{DefinitionSpec, SagaId, Status};

use super::crew::Crew;
use super::load::Acknowledged;
use super::sql::Reader;
use super::witness::Seen;
use books::Books;
use calls::Calls;
use logs::State;

/// How many sagas are neither ended nor stuck.
pub(super) const UNSETTLED: &str =
    "SELECT count(*) FROM saga WHERE status IN ('running', 'compensating')";

const BUCKETS: &str = "SELECT value FROM saga_meta WHERE name = 'buckets'";
const DEFINITIONS: &str = "SELECT spec FROM saga_definition";
const ORPHANED_ROWS: &str = "\
    SELECT count(*) FROM saga_log WHERE NOT EXISTS \
    (SELECT 1 FROM saga WHERE saga.bucket = saga_log.bucket AND saga.id = saga_log.saga_id)";
const DOUBLED_KEYS: &str = "\
    SELECT count(*) FROM (SELECT name, key FROM saga WHERE key IS NOT NULL \
    GROUP BY name, key HAVING count(*) > 1) AS doubled";

/// What the check counted.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// How many sagas ended how, or are stuck.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Transitions in all logs.
    pub transitions: u64,
    /// Calls that workers made.
    pub calls: u64,
    /// Calls that stopped workers made after they went on, for sagas that others had by then.
    pub stale_calls: u64,
    /// Stopped workers that were watched when they went on.
    pub woken: u64,
    /// Positions and epochs that were seen while sagas ran, and held against their logs.
    pub marks: u64,
}

/// What is known of every saga at the end.
#[derive(Debug, Default)]
struct Sagas {
    /// The input digest is by id.
    known: HashSet<SagaId>,
}

/// Checks everything; violations go to the crew's tally.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn check(crew: &Crew, acknowledged: &Acknowledged) -> anyhow::Result<Checked> {
    let mut reader = Reader::new(crew.ground.sagas());
    let seen = crew.witness.seen();
    let books = Books::read(crew).await?;
    let calls = Calls::read(&crew.journal())?;
    let definitions = definitions(&mut reader).await?;
    let buckets = reader.number(BUCKETS, &[]).await?;
    let mut checked = Checked::default();
    let mut sagas = Sagas::default();
    for bucket in 0..buckets {
        for state in logs::read(&mut reader, bucket).await? {
            sagas.known.insert(state.id);
            check_saga(crew, &state, &definitions, (&books, &calls, &seen), &mut checked);
        }
    }
    check_whole(crew, &mut reader).await?;
    check_acknowledged(crew, acknowledged, &sagas);
    books.check_strangers(&crew.tally, &sagas.known);
    books.check_arithmetic(&crew.tally);
    calls.check_strangers(&crew.tally, &sagas.known);
    checked.stale_calls = calls.check_woken(&crew.tally, &seen.woken);
    checked.calls = calls.number();
    checked.woken = seen.woken.len() as u64;
    Ok(checked)
}

fn check_saga(
    crew: &Crew,
    state: &State,
    definitions: &HashMap<(String, i64), Arc<DefinitionSpec>>,
    (books, calls, seen): (&Books, &Calls, &Seen),
    checked: &mut Checked,
) {
    let tally = &crew.tally;
    let status = state.status().map_or("unreadable", Status::as_str);
    *checked.statuses.entry(status).or_default() += 1;
    checked.transitions += state.log.len() as u64;
    if let Some(marks) = seen.marks.get(&state.id) {
        checked.marks += marks.len() as u64;
        logs::check_marks(tally, state, marks);
    }
    let Some(spec) = definitions.get(&(state.name.clone(), state.version)) else {
        tally.violated("S12", format!("saga {}: its definition is not on record", state.id));
        return;
    };
    let Some(log) = logs::check_chain(tally, state) else { return };
    calls.check_intents(tally, state.id, &log, spec);
    if let Some(saga) = logs::check_state(tally, state, &log, spec) {
        effects::check(tally, &saga, &log, books);
    }
}

/// What concerns no saga alone.
async fn check_whole(crew: &Crew, reader: &mut Reader) -> anyhow::Result<()> {
    for (invariant, query, what) in [
        ("S2", ORPHANED_ROWS, "log rows without a saga"),
        ("S11", DOUBLED_KEYS, "keys with more than one saga"),
    ] {
        let found = reader.number(query, &[]).await?;
        if found > 0 {
            crew.tally.violated(invariant, format!("{found} {what}"));
        }
    }
    Ok(())
}

fn check_acknowledged(crew: &Crew, acknowledged: &Acknowledged, sagas: &Sagas) {
    let mut by_saga = HashMap::new();
    for (id, planned) in acknowledged {
        let known = id.parse::<SagaId>().is_ok_and(|id| sagas.known.contains(&id));
        if !known {
            let what = format!("saga {id} of order {} was acknowledged, but is gone", planned.key);
            crew.tally.violated("S13", what);
        }
        if let Some(other) = by_saga.insert(id, &planned.key)
            && *other != planned.key
        {
            let what = format!("orders {other} and {} were given one saga, {id}", planned.key);
            crew.tally.violated("S11", what);
        }
    }
}

async fn definitions(
    reader: &mut Reader,
) -> anyhow::Result<HashMap<(String, i64), Arc<DefinitionSpec>>> {
    let rows: Vec<(String,)> = reader.rows(DEFINITIONS, &[]).await?;
    let spec = |(json,): (String,)| {
        let spec: DefinitionSpec =
            serde_json::from_str(&json).context("a definition on record is unreadable")?;
        Ok(((spec.name.clone(), i64::from(spec.version)), Arc::new(spec)))
    };
    rows.into_iter().map(spec).collect()
}

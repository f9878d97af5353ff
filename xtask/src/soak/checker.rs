//! Every invariant of the contract that can be checked from the outside, by SQL over the logs of the
//! sagas and the books of the participants.

mod books;
mod calls;
mod commands;
mod effects;
mod forgotten;
mod logs;
mod together;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use saga_core::{DefinitionSpec, SagaId, Status};

use super::crew::Crew;
use super::load::{Acknowledged, Promises};
use super::sql::Reader;
use super::tally::Tally;
use super::witness::Seen;
use books::Books;
use calls::Calls;
use commands::Commands;
use logs::State;
use together::Orders;

/// Of how many sagas, half of them of each version, one is of either for certain.
const ROLLOUT_SEEN: u64 = 50;

/// How many sagas are neither ended nor stuck.
pub(super) const UNSETTLED: &str =
    "SELECT count(*) FROM saga WHERE status IN ('running', 'compensating')";

const BUCKETS: &str = "SELECT value FROM saga_meta WHERE name = 'buckets'";
const DEFINITIONS: &str = "SELECT spec FROM saga_definition";
const ORPHANED_ROWS: &str = "\
    SELECT count(*) FROM saga_log WHERE NOT EXISTS \
    (SELECT 1 FROM saga WHERE saga.bucket = saga_log.bucket AND saga.id = saga_log.saga_id)";
const ORPHANED_COMMANDS: &str = "\
    SELECT count(*) FROM saga_command WHERE NOT EXISTS \
    (SELECT 1 FROM saga WHERE saga.bucket = saga_command.bucket AND saga.id = saga_command.saga_id)";
const DOUBLED_KEYS: &str = "\
    SELECT count(*) FROM (SELECT name, key FROM saga WHERE key IS NOT NULL \
    GROUP BY name, key HAVING count(*) > 1) AS doubled";

/// What the check counted.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// How many sagas ended how, or are stuck.
    pub statuses: BTreeMap<&'static str, u64>,
    /// How many sagas are of which version.
    pub versions: BTreeMap<u32, u64>,
    /// Orders that have a row, which appeared together with their saga.
    pub together: u64,
    /// Transitions in all logs.
    pub transitions: u64,
    /// Calls that workers made.
    pub calls: u64,
    /// Commands that were answered.
    pub commands: u64,
    /// Calls that stopped workers made after they went on, for sagas that others had by then.
    pub stale_calls: u64,
    /// Appends of such workers, before or after, that the fence refused.
    pub stale_appends: u64,
    /// Sagas that retention deleted, and that were checked all the same.
    pub forgotten: u64,
    /// Stopped workers that were watched when they went on.
    pub woken: u64,
    /// Positions and epochs that were seen while sagas ran, and held against their logs.
    pub marks: u64,
}

/// What is known of every saga at the end.
#[derive(Debug, Default)]
struct Sagas {
    /// The key of each, if it has one.
    known: HashMap<SagaId, Option<String>>,
}

/// What others say of the sagas, to be held against their logs.
#[derive(Debug)]
struct Witnesses {
    books: Books,
    calls: Calls,
    commands: Commands,
    seen: Seen,
}

/// Checks everything; violations go to the crew's tally.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn check(crew: &Crew, promises: Promises) -> anyhow::Result<Checked> {
    let mut reader = Reader::new(crew.ground.sagas());
    let books = Books::read(crew).await?;
    let calls = Calls::read(&crew.journal())?;
    let definitions = definitions(&mut reader).await?;
    let buckets = reader.number(BUCKETS, &[]).await?;
    let mut checked = Checked::default();
    let mut sagas = Sagas::default();
    let mut commands = Commands::given(promises.commands);
    for bucket in 0..buckets {
        commands.read(&mut reader, bucket).await?;
    }
    let witnesses = Witnesses { books, calls, commands, seen: crew.witness.seen() };
    let mut archive = Reader::new(crew.archive.place());
    for bucket in 0..buckets {
        let states = logs::read(&mut reader, bucket).await?;
        let aside = logs::read(&mut archive, bucket).await?;
        for (state, is_forgotten) in forgotten::join(&crew.tally, states, aside) {
            sagas.known.insert(state.id, state.key.clone());
            checked.forgotten += u64::from(is_forgotten);
            check_saga(crew, (&state, is_forgotten), &definitions, &witnesses, &mut checked);
        }
    }
    check_whole(crew, &mut reader).await?;
    let is_known = |id| sagas.known.contains_key(&id);
    forgotten::check_seen(&crew.tally, witnesses.seen.marks.keys().copied(), is_known);
    check_rollout(&crew.tally, &checked.versions);
    let orders = Orders::read(&mut reader).await?;
    orders.check(&crew.tally, &sagas.known, &promises.orders);
    checked.together = orders.number();
    check_acknowledged(crew, &promises.orders, &sagas);
    let Witnesses { books, calls, commands, seen } = witnesses;
    books.check_strangers(&crew.tally, is_known);
    books.check_arithmetic(&crew.tally);
    calls.check_strangers(&crew.tally, is_known);
    commands.check_strangers(&crew.tally, is_known);
    checked.stale_calls = calls.check_woken(&crew.tally, &seen.woken);
    let pids = seen.woken.iter().map(|woken| woken.pid).collect();
    checked.stale_appends = crew.armoury.noted_by("append.fenced", &pids);
    checked.calls = calls.number();
    checked.commands = commands.number();
    checked.woken = seen.woken.len() as u64;
    Ok(checked)
}

fn check_saga(
    crew: &Crew,
    (state, is_forgotten): (&State, bool),
    definitions: &HashMap<(String, u32), Arc<DefinitionSpec>>,
    Witnesses { books, calls, commands, seen }: &Witnesses,
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
    let definition = &state.definition;
    *checked.versions.entry(definition.version).or_default() += 1;
    let Some(spec) = definitions.get(&(definition.name.clone(), definition.version)) else {
        tally.violated("S12", format!("saga {}: its definition is not on record", state.id));
        return;
    };
    let Some(log) = logs::check_chain(tally, state) else { return };
    versions::check(tally, state.id, &log, definition, &spec.reference());
    calls.check_versions(tally, state.id, definition.version, seen);
    calls.check_intents(tally, state.id, &log, spec);
    if let Some(saga) = logs::check_state(tally, state, &log, spec) {
        effects::check(tally, &saga, &log, books);
        commands.check(tally, &saga, &log, is_forgotten);
    }
}

/// What concerns no saga alone.
async fn check_whole(crew: &Crew, reader: &mut Reader) -> anyhow::Result<()> {
    for (invariant, query, what) in [
        ("S2", ORPHANED_ROWS, "log rows without a saga"),
        ("S2", ORPHANED_COMMANDS, "commands without a saga"),
        ("S11", DOUBLED_KEYS, "keys with more than one saga"),
    ] {
        let found = reader.number(query, &[]).await?;
        if found > 0 {
            crew.tally.violated(invariant, format!("{found} {what}"));
        }
    }
    Ok(())
}

/// S12: so many sagas are on both versions, or the rollout is none.
fn check_rollout(tally: &Tally, versions: &BTreeMap<u32, u64>) {
    let all: u64 = versions.values().sum();
    if all >= ROLLOUT_SEEN && versions.len() < 2 {
        tally.violated("S12", format!("all {all} sagas are of one version: {versions:?}"));
    }
}

fn check_acknowledged(crew: &Crew, acknowledged: &[Acknowledged], sagas: &Sagas) {
    let mut by_saga = HashMap::new();
    for Acknowledged { saga: id, planned } in acknowledged {
        let known = id.parse::<SagaId>().is_ok_and(|id| sagas.known.contains_key(&id));
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
) -> anyhow::Result<HashMap<(String, u32), Arc<DefinitionSpec>>> {
    let rows: Vec<(String,)> = reader.rows(DEFINITIONS, &[]).await?;
    let spec = |(json,): (String,)| {
        let spec: DefinitionSpec =
            serde_json::from_str(&json).context("a definition on record is unreadable")?;
        Ok(((spec.name.clone(), spec.version), Arc::new(spec)))
    };
    rows.into_iter().map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_that_gives_one_version_everything_is_found() {
        let found = |versions: &[(u32, u64)]| {
            let tally = Tally::default();
            check_rollout(&tally, &versions.iter().copied().collect());
            tally.counted().violations.contains_key("S12")
        };
        assert!(found(&[(1, ROLLOUT_SEEN)]) && found(&[(2, ROLLOUT_SEEN)]));
        assert!(!found(&[(1, ROLLOUT_SEEN), (2, 1)]) && !found(&[(1, 3)]) && !found(&[]));
    }
}

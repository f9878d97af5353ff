//! The log of each saga: its shape, its chain, its fold, and the state row beside it.

use std::collections::HashMap;
use std::sync::Arc;

use saga_core::{
    DefinitionRef, DefinitionSpec, Digest, Event, LogError, LogHead, LogRow, Saga, SagaId, Status,
    StuckReason, Timestamp, Transition,
};

use crate::soak::sql::Reader;
use crate::soak::tally::Tally;
use crate::soak::witness::Mark;

const STATES: &str = "\
    SELECT id, name, version, digest, key, status, seq, epoch, owner, next_wake_at, started_at, \
    ended_at FROM saga WHERE bucket = $1";
const ROWS: &str = "\
    SELECT saga_id, seq, epoch, at, body, digest FROM saga_log WHERE bucket = $1 \
    ORDER BY saga_id, seq";

type StateColumns = (
    Vec<u8>,
    String,
    i64,
    Vec<u8>,
    Option<String>,
    String,
    i64,
    i64,
    Option<Vec<u8>>,
    Option<i64>,
    i64,
    Option<i64>,
);
type RowColumns = (Vec<u8>, i64, i64, i64, String, Vec<u8>);

/// A state row and the log beside it, as they were read.
#[derive(Debug)]
pub(super) struct State {
    pub id: SagaId,
    pub definition: DefinitionRef,
    pub key: Option<String>,
    status: String,
    seq: u64,
    epoch: u64,
    is_owned: bool,
    next_wake_at: Option<i64>,
    started_at: i64,
    ended_at: Option<i64>,
    pub log: Vec<LogRow>,
}

/// Reads all sagas of a bucket.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn read(reader: &mut Reader, bucket: i64) -> anyhow::Result<Vec<State>> {
    let mut logs: HashMap<Vec<u8>, Vec<LogRow>> = HashMap::new();
    for (id, seq, epoch, at, body, digest) in reader.rows::<RowColumns>(ROWS, &[bucket]).await? {
        // A digest of another length fits no row, which the chain tells.
        let digest = Digest::from_bytes(digest.try_into().unwrap_or_default());
        let (seq, epoch, at) =
            (seq.unsigned_abs(), epoch.unsigned_abs(), Timestamp::from_micros(at));
        logs.entry(id).or_default().push(LogRow { seq, epoch, at, body, digest });
    }
    let states = reader.rows::<StateColumns>(STATES, &[bucket]).await?;
    let state = |columns: StateColumns| {
        let (id, name, version, digest, key, status, seq, epoch, owner, wake, started, ended) =
            columns;
        let log = logs.remove(&id).unwrap_or_default();
        let digest = Digest::from_bytes(digest.try_into().unwrap_or_default());
        let version = u32::try_from(version).unwrap_or_default();
        State {
            id: SagaId::from_bytes(id.try_into().unwrap_or_default()),
            definition: DefinitionRef { name, version, digest },
            key,
            status,
            seq: seq.unsigned_abs(),
            epoch: epoch.unsigned_abs(),
            is_owned: owner.is_some(),
            next_wake_at: wake,
            started_at: started,
            ended_at: ended,
            log,
        }
    };
    Ok(states.into_iter().map(state).collect())
}

impl State {
    /// The status of the state row.
    pub(super) fn status(&self) -> Option<Status> {
        Status::parse(&self.status)
    }
}

/// S2, S3: the rows are without gaps, chained, and of rising epochs. `None` when they are not.
pub(super) fn check_chain(tally: &Tally, state: &State) -> Option<Vec<Transition>> {
    let mut head = LogHead::default();
    let mut log = Vec::with_capacity(state.log.len());
    for row in &state.log {
        match head.open(row) {
            Ok(transition) => log.push(transition),
            Err(fault) => {
                let invariant = match fault {
                    LogError::EpochBack { .. } => "S3",
                    LogError::Gap { .. } | LogError::Tampered { .. } => "S2",
                    LogError::Undecodable { .. } | LogError::Newer { .. } => "S2",
                };
                tally.violated(invariant, format!("saga {}: {fault}", state.id));
                return None;
            }
        }
        head = row.head();
    }
    if log.is_empty() {
        tally.violated("S2", format!("saga {} has no log", state.id));
        return None;
    }
    Some(log)
}

/// S1, S2, L2: the log is one that the state machine can have written, its end is its one end, and
/// the state row is what follows from it. `None` where it cannot be replayed.
pub(super) fn check_state(
    tally: &Tally,
    state: &State,
    log: &[Transition],
    spec: &Arc<DefinitionSpec>,
) -> Option<Saga> {
    let id = state.id;
    let events: Vec<&Event> = log.iter().flat_map(|transition| &transition.events).collect();
    let ends = events.iter().filter(|event| matches!(event, Event::SagaEnded { .. })).count();
    if ends > 1 || (ends == 1 && !matches!(events.last(), Some(Event::SagaEnded { .. }))) {
        tally.violated("S1", format!("saga {id} has {ends} ends, or something after its end"));
    }
    let saga = match Saga::replay(id, Arc::clone(spec), &state.log) {
        Ok(saga) => saga,
        Err(fault) => {
            tally.violated("S2", format!("saga {id}: {fault}"));
            return None;
        }
    };
    let (row, fold) = (
        (state.status(), state.seq, state.ended_at, state.started_at),
        (
            Some(saga.status()),
            saga.head().seq,
            saga.ended().map(|(at, _)| at.as_micros()),
            saga.started_at().as_micros(),
        ),
    );
    if row != fold || state.epoch < saga.head().epoch {
        let what = format!("saga {id}: its state row {row:?} is not the fold of its log, {fold:?}");
        tally.violated("S2", what);
    }
    check_rest(tally, state, &saga, &events);
    Some(saga)
}

/// L2 and L4: at the end a saga is ended or stuck, and nobody owns it.
fn check_rest(tally: &Tally, state: &State, saga: &Saga, events: &[&Event]) {
    let (id, status) = (state.id, saga.status());
    if state.is_owned {
        tally.violated("L4", format!("saga {id} ({status}) has an owner although none is left"));
    }
    if saga.ended().is_some() && state.next_wake_at.is_some() {
        tally.violated("L2", format!("saga {id} has ended and is to be woken all the same"));
    }
    if matches!(status, Status::Running | Status::Compensating) {
        tally
            .violated("L2", format!("saga {id} is still {status}, and nothing came of it in time"));
    }
    let damaged = |event: &&&Event| {
        matches!(event, Event::SagaStuck { reason: StuckReason::LogDamaged { .. } })
    };
    if let Some(Event::SagaStuck { reason }) = events.iter().find(damaged) {
        tally.violated("S2", format!("saga {id}: a worker found its log damaged: {reason:?}"));
    }
}

/// S2, S3: what was seen of the log is still there, and nothing of an older epoch came after it.
pub(super) fn check_marks(tally: &Tally, state: &State, marks: &[Mark]) {
    let id = state.id;
    for mark in marks {
        let row = state.log.iter().find(|row| row.seq == mark.seq);
        if row.is_none_or(|row| *row.digest.as_bytes() != mark.digest) {
            let what = format!("saga {id}: log row {} was changed or is gone", mark.seq);
            tally.violated("S2", what);
        }
        let late = state.log.iter().find(|row| row.seq > mark.seq && row.epoch < mark.epoch);
        if let Some(row) = late {
            let what = format!(
                "saga {id}: row {} has epoch {}, although epoch {} was granted before it",
                row.seq, row.epoch, mark.epoch
            );
            tally.violated("S3", what);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log whose rows have these epochs.
    pub(in crate::soak::checker) fn state(epochs: &[u64]) -> State {
        let mut head = LogHead::default();
        let seal = |epoch: &u64| {
            let row = head.seal(*epoch, Timestamp::default(), &[Event::WorkerLost]);
            head = row.head();
            row
        };
        State {
            id: SagaId::from_bytes([7; 16]),
            definition: DefinitionRef {
                name: "buy".to_owned(),
                version: 1,
                digest: Digest::from_bytes([0; 16]),
            },
            key: None,
            status: "running".to_owned(),
            seq: epochs.len() as u64,
            epoch: epochs.last().copied().unwrap_or_default(),
            is_owned: false,
            next_wake_at: None,
            started_at: 0,
            ended_at: None,
            log: epochs.iter().map(seal).collect(),
        }
    }

    fn invariants(check: impl FnOnce(&Tally)) -> Vec<&'static str> {
        let tally = Tally::default();
        check(&tally);
        tally.counted().violations.into_keys().collect()
    }

    #[test]
    fn a_gap_and_a_changed_row_violate_the_shape_and_an_older_epoch_the_fence() {
        let broken = |change: fn(&mut State)| {
            let mut state = state(&[0, 1, 2]);
            change(&mut state);
            invariants(|tally| drop(check_chain(tally, &state)))
        };
        assert_eq!(broken(|_| {}), Vec::<&str>::new());
        assert_eq!(broken(|state| drop(state.log.remove(1))), ["S2"]);
        assert_eq!(broken(|state| state.log[1].body = "[]".to_owned()), ["S2"]);
        assert_eq!(broken(|state| state.log.clear()), ["S2"]);
        assert_eq!(invariants(|tally| drop(check_chain(tally, &state(&[0, 2, 1])))), ["S3"]);
    }

    #[test]
    fn a_row_of_an_epoch_older_than_one_seen_before_it_is_found_although_the_log_alone_is_well() {
        let state = state(&[0, 1, 1]);
        let mark = |seq: u64, epoch| {
            let digest = *state.log[seq as usize - 1].digest.as_bytes();
            Mark { seq, epoch, digest }
        };
        let found = |marks: &[Mark]| invariants(|tally| check_marks(tally, &state, marks));
        assert_eq!(found(&[mark(1, 1), mark(2, 1), mark(3, 2)]), Vec::<&str>::new());
        // Epoch 2 was granted when the log stood at 2, and then a row of epoch 1 was appended.
        assert_eq!(found(&[mark(2, 2)]), ["S3"]);
        assert_eq!(found(&[Mark { digest: [0; 16], ..mark(1, 0) }]), ["S2"]);
        assert_eq!(found(&[Mark { seq: 9, ..mark(1, 0) }]), ["S2"]);
    }
}

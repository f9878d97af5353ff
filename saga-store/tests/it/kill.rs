//! Processes killed at any moment: what was acknowledged is there, and every log replays.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use saga_core::store::{Append, AppendError, Claim, Definitions, Leases, Query, SagaLog};
use saga_core::{SagaId, Store};
use saga_store::SqliteStore;
use tokio::task::JoinSet;

use crate::driven::{Driven, LONG, card, order, replay};

/// Says to a child that it is one, and which database to write to.
const CHILD: &str = "SAGA_STORE_TEST_KILLED_CHILD";

/// Rounds, in each of which two processes write to one file and are killed one after the other.
const ROUNDS: usize = 20;

/// Sagas a child drives at the same time.
const SAGAS: usize = 16;

/// Acknowledgements after which a child is killed, at most.
const ACKNOWLEDGED_MAX: usize = 300;

#[test]
fn what_was_acknowledged_survives_kills_at_any_moment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut acknowledged, mut random) = (HashMap::new(), 7_u64);
    for round in 0..ROUNDS {
        let mut children: Vec<_> = (0..2).map(|_| spawn(&path)).collect();
        for child in &mut children {
            // An even spread of moments, none of them round.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(17);
            let lines = 1 + (random >> 33) as usize % ACKNOWLEDGED_MAX;
            kill_after(child, lines, &mut acknowledged);
        }
        let everything = round + 1 == ROUNDS;
        runtime.block_on(verify(&path, &acknowledged, everything));
    }
    assert!(acknowledged.len() > 2 * ROUNDS, "{} sagas were acknowledged", acknowledged.len());
    runtime.block_on(assert_intact(&path));
}

/// A child process that does not outlive this test, whatever happens.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // It is usually dead by now.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn spawn(path: &Path) -> Doomed {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kill::a_child_appends_until_it_is_killed", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn();
    Doomed(child.expect("this test runs as a child of itself"))
}

/// Kills a child once it has acknowledged so many appends, and notes all it has acknowledged.
fn kill_after(Doomed(child): &mut Doomed, lines: usize, acknowledged: &mut HashMap<SagaId, u64>) {
    let output = child.stdout.take().expect("its output is piped");
    let mut seen = 0;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8(line.expect("the pipe works")).expect("text");
        let Some((id, seq)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else {
            continue;
        };
        let (Ok(id), Ok(seq)) = (id.parse::<SagaId>(), seq.parse::<u64>()) else { continue };
        let known = acknowledged.entry(id).or_default();
        *known = seq.max(*known);
        seen += 1;
        if seen == lines {
            child.kill().expect("SIGKILL");
        }
    }
    assert!(seen >= lines, "the child fell by itself after {seen} acknowledgements");
}

/// Checks what was acknowledged: of the sagas that are still running, or of all.
async fn verify(path: &Path, acknowledged: &HashMap<SagaId, u64>, everything: bool) {
    let store = SqliteStore::open(path).await.expect("the database opens after a kill");
    let mut checked = 0;
    let mut before = None;
    loop {
        let query = Query { before, limit: 500, ..Query::default() };
        let page = store.find(&query).await.expect("a page");
        for row in &page {
            if everything || row.summary.status.is_alive() {
                let (row, log) = store.load(row.id).await.expect("a read").expect("the saga");
                replay(&row, &log);
                checked += 1;
            }
            let known = acknowledged.get(&row.id).copied().unwrap_or_default();
            assert!(row.seq >= known, "saga {} lost rows {}..={known}", row.id, row.seq + 1);
        }
        before = page.last().map(|row| row.id);
        if before.is_none() {
            break;
        }
    }
    assert!(!everything || checked >= acknowledged.len(), "{checked} sagas were found");
}

async fn assert_intact(path: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut db = sqlx::ConnectOptions::connect(&options).await.expect("the file opens");
    let report: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut db).await.expect("a report");
    assert_eq!(report, "ok");
}

/// Not a test of its own: what the test above runs in processes of their own and kills.
#[test]
fn a_child_appends_until_it_is_killed() {
    if let Some(path) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(append_for_ever(Path::new(&path)));
    }
}

async fn append_for_ever(path: &Path) {
    let store = SqliteStore::open(path).await.expect("the database");
    store.publish(&order()).await.expect("the definition");
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    // Takes everything from everybody else, dead or alive: a live one finds itself fenced.
    for other in store.workers().await.expect("a read") {
        if other.card.id != card.id {
            store.enlist(&other.card, std::time::Duration::ZERO).await.expect("an end");
        }
    }
    let claim = Claim { worker: card.id, definitions: card.definitions.clone(), limit: 1_000 };
    let mut sagas = JoinSet::new();
    for row in store.claim(&claim).await.expect("a claim") {
        let (row, log) = store.load(row.id).await.expect("a read").expect("the saga");
        if row.owner == Some(card.id) {
            sagas.spawn(drive(store.clone(), Driven::resume(&row, &log)));
        }
    }
    loop {
        while sagas.len() < SAGAS {
            let (driven, new) = Driven::start(card.id);
            store.start(new).await.expect("a start");
            acknowledge(driven.id, 1);
            sagas.spawn(drive(store.clone(), driven));
        }
        sagas.join_next().await.expect("sagas are running").expect("a saga ends");
    }
}

async fn drive(store: impl Store, mut driven: Driven) {
    while let Some(append) = driven.advance() {
        let Append { id, row, .. } = &append;
        let (id, seq) = (*id, row.seq);
        match store.append(append).await {
            Ok(()) => acknowledge(id, seq),
            Err(AppendError::Fenced { .. }) => return,
            Err(error) => panic!("an append failed: {error}"),
        }
    }
}

/// Tells the parent. A parent that has seen enough does not listen any more.
fn acknowledge(id: SagaId, seq: u64) {
    drop(writeln!(std::io::stdout().lock(), "ack {id} {seq}"));
}

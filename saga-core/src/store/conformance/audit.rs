//! The audit trail: recorded before the deed, completed once, read newest first, shortened by age.

use std::time::Duration;

use tokio::task::JoinSet;

use super::scene::Scene;
use crate::Timestamp;
use crate::id::AuditId;
use crate::store::{AuditEntry, AuditOutcome, AuditQuery};

/// A time far behind the present of any store, in milliseconds.
const MS: u64 = 1_000_000;
/// So many years that nothing made at [`MS`] is that old.
const AGES: Duration = Duration::from_secs(400 * 366 * 86_400);

/// The id of an entry made in this millisecond; the number tells those of one millisecond apart.
fn id(ms: u64, number: u16) -> AuditId {
    let number = u128::from(number);
    let version_7 = (u128::from(ms) << 80) | (0x7 << 76) | (0b10 << 62) | number;
    AuditId::from_bytes(version_7.to_be_bytes())
}

fn entry(id: AuditId, actor: &str, action: &str, target: &str) -> AuditEntry {
    AuditEntry {
        id,
        actor: actor.into(),
        role: "operator".into(),
        remote: None,
        action: action.into(),
        target: Some(target.into()),
        reason: None,
        request_id: None,
        detail: None,
        outcome: None,
    }
}

fn outcome(status: u16) -> AuditOutcome {
    AuditOutcome { at: Timestamp::from_micros(77), status, problem: None }
}

async fn record(scene: &Scene, entry: &AuditEntry) {
    assert_eq!(scene.store.record_audit(entry).await, Ok(()));
}

/// What another process sees.
async fn found(scene: &Scene, query: AuditQuery) -> Vec<AuditEntry> {
    scene.other.audit(&query).await.expect("a page of the trail")
}

async fn all(scene: &Scene) -> Vec<AuditEntry> {
    found(scene, AuditQuery::default()).await
}

pub(super) async fn an_entry_reads_back_as_it_was_recorded(scene: Scene) {
    let bare = AuditEntry { target: None, ..entry(id(MS, 1), "anonymous", "saga.stop", "") };
    let full = AuditEntry {
        remote: Some("10.0.0.7".into()),
        reason: Some("the bank is gone: \u{1f4a5} 'quoted' \"twice\"".into()),
        request_id: Some("request-1".into()),
        detail: Some(r#"{"filter":{"status":["stuck"]}}"#.into()),
        outcome: Some(AuditOutcome { problem: Some("forbidden".into()), ..outcome(403) }),
        ..entry(id(MS, 2), "ops", "bulk.stop", "0123")
    };
    record(&scene, &bare).await;
    record(&scene, &full).await;
    assert_eq!(all(&scene).await, [full, bare]);
}

pub(super) async fn an_entry_recorded_again_changes_nothing(scene: Scene) {
    let first = entry(id(MS, 1), "ops", "saga.stop", "a");
    record(&scene, &first).await;
    let settled = AuditEntry { outcome: Some(outcome(200)), ..first.clone() };
    assert_eq!(scene.store.settle_audit(first.id, &outcome(200)).await, Ok(()));
    record(&scene, &first).await;
    record(&scene, &AuditEntry { actor: "somebody-else".into(), ..first }).await;
    assert_eq!(all(&scene).await, [settled]);
}

pub(super) async fn an_entry_is_completed_once_and_by_its_id_alone(scene: Scene) {
    let (one, other) =
        (entry(id(MS, 1), "ops", "saga.stop", "a"), entry(id(MS, 2), "ops", "saga.stop", "a"));
    record(&scene, &one).await;
    record(&scene, &other).await;
    let problem = Some("command-refused".to_owned());
    let refused = AuditOutcome { problem, ..outcome(409) };
    for outcome in [&refused, &outcome(200)] {
        assert_eq!(scene.other.settle_audit(one.id, outcome).await, Ok(()));
    }
    assert_eq!(scene.store.settle_audit(id(MS, 3), &outcome(200)).await, Ok(()));
    assert_eq!(all(&scene).await, [other, AuditEntry { outcome: Some(refused), ..one }]);
}

pub(super) async fn of_racing_outcomes_of_one_entry_exactly_one_is_kept(scene: Scene) {
    let first = entry(id(MS, 1), "ops", "saga.stop", "a");
    record(&scene, &first).await;
    let mut race = JoinSet::new();
    for (nth, store) in [&scene.store, &scene.other].into_iter().cycle().take(8).enumerate() {
        let store = store.clone();
        let status = 200 + u16::try_from(nth).expect("few");
        race.spawn(async move { store.settle_audit(first.id, &outcome(status)).await });
    }
    assert!(race.join_all().await.into_iter().all(|settled| settled.is_ok()));
    let kept = all(&scene).await[0].outcome.clone();
    assert!(kept.is_some());
    assert_eq!(scene.store.settle_audit(first.id, &outcome(500)).await, Ok(()));
    assert_eq!(all(&scene).await[0].outcome, kept);
}

pub(super) async fn entries_are_found_by_actor_action_target_and_time(scene: Scene) {
    for (ms, actor, action, target) in [
        (1, "ops", "saga.stop", "a"),
        (2, "ops", "saga.retry", "b"),
        (3, "bot", "saga.stop", "b"),
        (4, "bot", "saga.retry", "a"),
        (5, "ops", "saga.stop", "b"),
    ] {
        record(&scene, &entry(id(MS + ms, 0), actor, action, target)).await;
    }
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let at = |micros: u64| Some(Timestamp::from_micros((MS * 1_000 + micros).cast_signed()));
    for (actor, action, target, since, until, expected) in [
        ("", "", "", None, None, &[5, 4, 3, 2, 1][..]),
        ("ops", "", "", None, None, &[5, 2, 1]),
        ("", "saga.stop", "", None, None, &[5, 3, 1]),
        ("", "", "b", None, None, &[5, 3, 2]),
        ("ops", "saga.stop", "", None, None, &[5, 1]),
        ("ops", "", "b", None, None, &[5, 2]),
        ("", "saga.stop", "b", None, None, &[5, 3]),
        ("ops", "saga.stop", "b", None, None, &[5]),
        ("bot", "saga.stop", "a", None, None, &[]),
        ("nobody", "", "", None, None, &[]),
        ("", "", "", at(2_000), None, &[5, 4, 3, 2]),
        ("", "", "", at(2_001), None, &[5, 4, 3]),
        ("", "", "", None, at(4_000), &[3, 2, 1]),
        ("", "", "", None, at(4_001), &[4, 3, 2, 1]),
        ("ops", "", "", at(2_000), at(5_000), &[2]),
        ("", "saga.stop", "", at(2_000), at(5_000), &[3]),
        ("", "", "b", at(2_000), at(5_000), &[3, 2]),
        ("", "", "", at(5_000), at(2_000), &[]),
    ] {
        let (actor, action, target) = (text(actor), text(action), text(target));
        let query = AuditQuery { actor, action, target, since, until, ..AuditQuery::default() };
        let times = found(&scene, query.clone()).await.into_iter().map(|entry| entry.id.at());
        let times: Vec<_> = times.map(|at| at.as_micros().unsigned_abs() / 1_000 - MS).collect();
        assert_eq!(times, expected, "{query:?}");
    }
}

pub(super) async fn pages_of_the_trail_have_neither_gaps_nor_duplicates(scene: Scene) {
    // Several of each millisecond, so that a page ends in the middle of one.
    for number in 0..20 {
        let id = id(MS + u64::from(number % 4), number);
        record(&scene, &entry(id, "ops", "saga.stop", "a")).await;
    }
    let whole: Vec<_> = all(&scene).await.into_iter().map(|entry| entry.id).collect();
    assert!(whole.len() == 20 && whole.is_sorted_by(|a, b| a > b));
    let only = |word: &str| Some(word.to_owned());
    for filter in [
        AuditQuery::default(),
        AuditQuery { actor: only("ops"), ..AuditQuery::default() },
        AuditQuery { action: only("saga.stop"), ..AuditQuery::default() },
        AuditQuery { target: only("a"), ..AuditQuery::default() },
    ] {
        let mut seen = Vec::new();
        loop {
            let query = AuditQuery { before: seen.last().copied(), limit: 3, ..filter.clone() };
            let page = found(&scene, query).await;
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|entry| entry.id));
        }
        assert_eq!(seen, whole, "{filter:?}");
    }
}

pub(super) async fn a_page_of_the_trail_is_bounded(scene: Scene) {
    for number in 0..120 {
        record(&scene, &entry(id(MS, number), "ops", "saga.stop", "a")).await;
    }
    for (limit, expected) in [(0, 100), (7, 7), (500, 120), (u32::MAX, 120)] {
        let page = found(&scene, AuditQuery { limit, ..AuditQuery::default() }).await;
        assert_eq!(page.len(), expected);
    }
}

pub(super) async fn only_entries_older_than_the_age_leave_the_oldest_first_and_at_most_the_limit(
    scene: Scene,
) {
    // In the year 2200, which no store has reached.
    let young = id(7_258_118_400_000, 1);
    for id in [id(MS + 2, 1), id(MS, 1), young, id(MS + 1, 1), id(MS + 3, 1)] {
        record(&scene, &entry(id, "ops", "saga.stop", "a")).await;
    }
    let forget = async |age, limit| scene.store.forget_audit(age, limit).await;
    assert_eq!(forget(Duration::ZERO, 0).await, Ok(0));
    assert_eq!(forget(AGES, 100).await, Ok(0));
    assert_eq!(forget(Duration::MAX, 100).await, Ok(0));
    assert_eq!(forget(Duration::from_secs(3_600), 3).await, Ok(3));
    let left: Vec<_> = all(&scene).await.into_iter().map(|entry| entry.id).collect();
    assert_eq!(left, [young, id(MS + 3, 1)]);
    assert_eq!(forget(Duration::ZERO, 100).await, Ok(1));
    assert_eq!(forget(Duration::ZERO, 100).await, Ok(0));
    assert_eq!(all(&scene).await.len(), 1);
}

pub(super) async fn of_many_who_shorten_the_trail_at_once_each_entry_is_counted_by_one(
    scene: Scene,
) {
    for number in 0..60 {
        record(&scene, &entry(id(MS, number), "ops", "saga.stop", "a")).await;
    }
    let mut race = JoinSet::new();
    for store in [&scene.store, &scene.other].into_iter().cycle().take(8) {
        let store = store.clone();
        race.spawn(async move {
            let mut mine = 0;
            loop {
                match store.forget_audit(Duration::ZERO, 7).await.expect("forgetting") {
                    0 => return mine,
                    some => mine += some,
                }
            }
        });
    }
    let mut counted: u32 = race.join_all().await.into_iter().sum();
    // A caller may find that the others have their hands on all that is left.
    counted += scene.store.forget_audit(Duration::ZERO, 100).await.expect("forgetting");
    assert_eq!((counted, all(&scene).await.len()), (60, 0));
}

//! One key that asks for too much (T16).

use saga_daemon::Limits;
use saga_daemon::access::Role;

use crate::support::{PATIENCE, World, keys, memory};

#[tokio::test]
async fn a_key_that_asks_too_fast_is_told_when_to_come_back_and_takes_nothing_from_others() {
    let (keys, texts) = keys();
    let limits = Limits { requests_per_key_max: 1, ..Limits::default() };
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let text = |role: Role| &texts.iter().find(|(known, _)| *known == role).unwrap().1;
    let (greedy, other) =
        (world.api.with_key(text(Role::Viewer)), world.api.with_key(text(Role::Admin)));
    let refused = async {
        loop {
            let answer = greedy.get("/v1/sagas").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text("/detail").contains("http.requests_per_key_max"), "{}", refused.raw);
    // Neither what needs another role nor what another key asks is any way around it.
    let forbidden = greedy.post("/v1/sagas/place-order", &serde_json::json!({ "order": 1 })).await;
    assert_eq!(forbidden.status, 429, "{}", forbidden.raw);
    assert_eq!(other.get("/v1/sagas").await.status, 200);
    assert_eq!(greedy.get("/healthz").await.status, 200);
    let again = async { while greedy.get("/v1/sagas").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

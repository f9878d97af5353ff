//! Definitions as data: one structure for each version, policies up to date.

use tokio::task::JoinSet;

use super::scene::{Scene, definition, order, trip};
use crate::RetryPolicy;
use crate::store::PublishError;

pub(super) async fn a_published_definition_is_found_under_its_name_and_version(scene: Scene) {
    let second = definition("order", 2, &["reserve-stock", "redeem-coupon"]);
    for spec in [order(), second.clone(), trip(), order()] {
        assert_eq!(scene.store.publish(&spec).await, Ok(()));
    }
    for spec in [order(), second, trip()] {
        let found = scene.other.definition(&spec.name, spec.version).await;
        assert_eq!(found, Ok(Some((*spec).clone())));
    }
    assert_eq!(scene.other.definition("order", 3).await, Ok(None));
    assert_eq!(scene.other.definition("nothing", 1).await, Ok(None));
}

pub(super) async fn the_versions_of_a_definition_are_found_under_its_name(scene: Scene) {
    // Ten comes after nine, whatever their digits say.
    let versions = [9, 10, 2].map(|version| definition("order", version, &["reserve-stock"]));
    for spec in versions.iter().chain([&trip()]) {
        assert_eq!(scene.store.publish(spec).await, Ok(()));
    }
    assert_eq!(scene.other.newest("order").await, Ok(Some((*versions[1]).clone())));
    assert_eq!(scene.other.newest("trip").await, Ok(Some((*trip()).clone())));
    assert_eq!(scene.other.newest("nothing").await, Ok(None));
    assert_eq!(scene.other.versions("order").await, Ok(vec![2, 9, 10]));
    assert_eq!(scene.other.versions("trip").await, Ok(vec![1]));
    assert_eq!(scene.other.versions("nothing").await, Ok(Vec::new()));
}

pub(super) async fn policies_of_a_published_version_are_brought_up_to_date(scene: Scene) {
    let mut tuned = (*order()).clone();
    assert_eq!(scene.store.publish(&tuned).await, Ok(()));
    tuned.steps[0].retry = RetryPolicy { attempts_max: 17, ..tuned.steps[0].retry };
    tuned.deadline_ms = Some(90_000);
    assert_eq!(scene.store.publish(&tuned).await, Ok(()));
    assert_eq!(scene.other.definition("order", 1).await, Ok(Some(tuned)));
}

pub(super) async fn another_structure_under_a_known_version_is_refused_with_the_difference(
    scene: Scene,
) {
    let offered = definition("order", 1, &["redeem-coupon"]);
    assert_eq!(scene.store.publish(&order()).await, Ok(()));
    let error = scene.store.publish(&offered).await.expect_err("the structure differs");
    let text = error.to_string();
    let PublishError::Changed { definition, stored, offered: refused } = error else {
        panic!("another error: {error}");
    };
    assert_eq!(definition, offered.reference());
    assert_eq!((&*stored, &*refused), (&*order(), &*offered));
    assert!(text.contains("- reserve-stock") && text.contains("+ redeem-coupon"), "{text}");
    let found = scene.other.definition("order", 1).await;
    assert_eq!(found, Ok(Some((*order()).clone())), "nothing was changed");
}

pub(super) async fn of_racing_structures_under_one_version_one_is_kept(scene: Scene) {
    let mut race = JoinSet::new();
    for caller in 0..8 {
        let store = if caller % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        let spec = definition("order", 1, &[if caller < 4 { "left" } else { "right" }]);
        race.spawn(async move { (store.publish(&spec).await, spec) });
    }
    let outcomes = race.join_all().await;
    let kept = scene.other.definition("order", 1).await.expect("a read").expect("one is kept");
    for (outcome, spec) in outcomes {
        assert_eq!(outcome.is_ok(), *spec == kept);
    }
}

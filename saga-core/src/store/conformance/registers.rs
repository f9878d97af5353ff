//! Registers: changed by compare and set, by whoever knows what stands there.

use tokio::task::JoinSet;

use super::scene::Scene;

pub(super) async fn a_register_is_set_only_by_who_knows_its_version(scene: Scene) {
    let (ours, theirs) = (&scene.store, &scene.other);
    assert_eq!(theirs.register("webhook/a").await, Ok(None));
    assert_eq!(ours.set_register("webhook/a", 1, "nothing to change").await, Ok(false));
    assert_eq!(ours.set_register("webhook/a", 0, "one").await, Ok(true));
    assert_eq!(theirs.set_register("webhook/a", 0, "late").await, Ok(false));
    assert_eq!(theirs.set_register("webhook/a", 1, "two").await, Ok(true));
    assert_eq!(ours.set_register("webhook/a", 1, "stale").await, Ok(false));
    let register = ours.register("webhook/a").await.expect("a read").expect("it is there");
    assert_eq!((register.version, register.value.as_str()), (2, "two"));
}

pub(super) async fn of_racing_setters_of_one_version_exactly_one_wins(scene: Scene) {
    for round in 0..8 {
        let mut setters = JoinSet::new();
        for (nth, store) in [&scene.store, &scene.other].into_iter().cycle().take(16).enumerate() {
            let store = store.clone();
            setters.spawn(async move {
                store.set_register("turn", round, &nth.to_string()).await.expect("an answer")
            });
        }
        let won = setters.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
}

pub(super) async fn registers_are_listed_by_the_beginning_of_their_names(scene: Scene) {
    for name in ["bulk/1", "webhook/b", "webhook/a", "webhook/ä", "webhooks"] {
        assert_eq!(scene.store.set_register(name, 0, name).await, Ok(true));
    }
    let listed = scene.other.registers("webhook/").await.expect("a list");
    let names: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["webhook/a", "webhook/b", "webhook/ä"]);
    assert!(listed.iter().all(|(name, register)| register.value == *name));
    assert_eq!(scene.other.registers("nothing").await, Ok(Vec::new()));
}

pub(super) async fn a_removed_register_is_gone_and_begins_anew(scene: Scene) {
    assert_eq!(scene.store.remove_register("a").await, Ok(()));
    for value in ["one", "two"] {
        assert_eq!(scene.store.set_register("a", 0, value).await, Ok(true));
        assert_eq!(scene.store.set_register("a", 1, value).await, Ok(true));
        assert_eq!(scene.other.remove_register("a").await, Ok(()));
        assert_eq!(scene.store.register("a").await, Ok(None));
    }
}

//! A worker is killed for real; the bench itself checks that nothing was lost and nothing done twice.

use crate::{bench, number, refused};

fn check(store: &str) {
    let line = "recovery --in-flight 60 --workers 2 --lease-ms 6000 --store";
    let figures = &bench(&format!("{line} {store}"))[0];
    assert_eq!(
        (figures["bench"].as_str(), figures["store"].as_str()),
        (Some("recovery"), Some(store))
    );
    assert_eq!(
        ["in_flight", "workers", "effects"].map(|name| number(figures, name)),
        [60.0, 2.0, 180.0]
    );
    let times = ["lease_end_ms", "first_ms", "half_ms", "all_ms", "ended_ms"];
    let times = times.map(|name| number(figures, name));
    assert!(times.is_sorted(), "nobody takes over before the lease is over: {figures}");
}

#[test]
fn the_sagas_of_a_killed_worker_go_on_elsewhere_once_its_lease_is_over() {
    check("sqlite");
}

mod postgres {
    #[test]
    fn the_sagas_of_a_killed_worker_go_on_elsewhere_once_its_lease_is_over() {
        super::check("postgres");
    }
}

#[test]
fn a_store_that_dies_with_its_process_and_nobody_to_survive_are_refused() {
    assert!(refused("recovery --store memory").contains("--store sqlite or --store postgres"));
    assert!(refused("recovery --workers 0").contains("0 is not in 1..=64"));
    assert!(refused("recovery --in-flight 0").contains("0 is not in 1..="));
}

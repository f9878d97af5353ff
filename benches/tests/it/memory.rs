//! Three kinds of sagas, each in a worker's process.

use crate::{bench, number, refused};

fn check(store: &str, wanted: &[&str]) {
    let only = wanted.join(",");
    let lines = bench(&format!("memory --sagas 40 --store {store} --only {only}"));
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, wanted);
    for figures in &lines {
        assert_eq!((figures["store"].as_str(), number(figures, "sagas")), (Some(store), 40.0));
        assert!(number(figures, "memory_before") > 0.0, "{figures}");
        assert!(
            number(figures, "disk_per_saga") > 0.0,
            "eighty sagas are more than a page: {figures}"
        );
    }
}

#[test]
fn each_kind_of_saga_is_weighed_in_a_process_and_on_disk() {
    check("sqlite", &["finished", "sleeping", "running"]);
}

mod postgres {
    #[test]
    fn a_sleeping_saga_is_weighed_in_a_process_and_on_disk() {
        super::check("postgres", &["sleeping"]);
    }
}

#[test]
fn a_kind_that_does_not_exist_and_no_kind_are_refused() {
    assert!(refused("memory --only stuck").contains("finished, sleeping, running"));
    assert!(refused("memory --only=").contains("finished, sleeping, running"));
    assert!(refused("memory --sagas 0").contains("0 is not in 1..="));
}

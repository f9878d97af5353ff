//! Which version a new saga starts on while another is being rolled out.

use proptest::prelude::*;
use saga_core::{Rollout, RolloutFault, Share};

const KNOWN: [u32; 4] = [1, 2, 3, 4];

fn rollout(shares: &[(u32, Share)]) -> Rollout {
    Rollout::new("place-order", &KNOWN, shares).expect("nothing is wrong with it")
}

/// The faults of shares that have to be refused, and what is said of them.
#[track_caller]
fn refused(known: &[u32], shares: &[(u32, u32)]) -> (Vec<RolloutFault>, String) {
    let shares: Vec<_> =
        shares.iter().map(|(version, percent)| (*version, Share::percent(*percent))).collect();
    let refused = Rollout::new("place-order", known, &shares).expect_err("it has to be refused");
    let text = refused.to_string();
    (refused.0, text)
}

#[test]
fn the_version_of_a_key_never_changes_between_releases() {
    // Where these keys stand among ten thousand points; computed by another program.
    for (key, point) in [
        ("order-17", 5_194),
        ("order-22", 646),
        ("order-13", 9_934),
        ("", 5_174),
        ("\u{e9}", 6_300),
        ("0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6", 6_449),
    ] {
        let version = |share| rollout(&[(4, Share::basis_points(share))]).version_of(key);
        assert_eq!((version(point), version(point + 1)), (3, 4), "{key}");
    }
    let other = Rollout::new("book-trip", &KNOWN, &[(4, Share::basis_points(5_071))]);
    let other = other.expect("nothing is wrong with it");
    assert_eq!(other.version_of("order-17"), 4, "another definition has other pioneers");
}

#[test]
fn nothing_and_everything_are_shares_too() {
    let (none, all) = (rollout(&[(4, Share::percent(0))]), rollout(&[(4, Share::percent(100))]));
    let only = Rollout::new("place-order", &[7], &[(7, Share::percent(100))]);
    let only = only.expect("the whole needs no older version");
    for key in (0..1_000).map(|number| format!("order-{number}")) {
        let versions = [none.version_of(&key), all.version_of(&key), only.version_of(&key)];
        assert_eq!(versions, [3, 4, 7]);
    }
}

#[test]
fn what_the_shares_leave_over_goes_to_the_newest_version_below_them() {
    let shares = rollout(&[(3, Share::percent(20)), (4, Share::percent(10))]);
    let mut counts = [0; 5];
    for number in 0..10_000 {
        counts[shares.version_of(&format!("order-{number}")) as usize] += 1;
    }
    let [_, first, second, third, fourth] = counts;
    assert_eq!(first, 0);
    assert!((6_800..7_200).contains(&second), "{counts:?}");
    assert!((1_800..2_200).contains(&third), "{counts:?}");
    assert!((850..1_150).contains(&fourth), "{counts:?}");
}

#[test]
fn every_fault_is_named_with_what_to_do() {
    let (faults, text) = refused(&[], &[(3, 10)]);
    assert_eq!(faults, [RolloutFault::UnknownDefinition { name: "place-order".into() }]);
    assert!(text.contains("place-order: no definition of this name"), "{text}");

    let (faults, text) = refused(&KNOWN, &[(9, 10), (3, 101), (4, 10), (4, 20)]);
    assert_eq!(faults.len(), 3);
    for words in [
        "the rollout has 3 fault(s)",
        "place-order v9 is not known: expected one of v1, v2, v3, v4",
        "place-order v3 has a share of 101 %: expected 0 % to 100 %",
        "place-order v4 has two shares, 10 % and 20 %: give it one",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }

    let (_, text) = refused(&KNOWN, &[(4, 60), (3, 60)]);
    assert!(text.contains("the shares of place-order add up to 120 %"), "{text}");
    let (_, text) = refused(&[3, 4], &[(4, 60), (3, 30)]);
    assert!(text.contains("add up to 90 %, and no version older than v3"), "{text}");
    let (faults, text) = refused(&KNOWN, &[(2, 50)]);
    assert_eq!(faults.len(), 2);
    assert!(text.contains("v3 has no share") && text.contains("v4 has no share"), "{text}");
    let huge = Rollout::new("place-order", &KNOWN, &[(4, Share::percent(u32::MAX))]);
    assert!(huge.is_err(), "a share too large to count is out of range");
}

/// Shares for versions 3 and 4, in basis points, that do not exceed the whole.
fn shares() -> impl Strategy<Value = (u32, u32)> {
    (0_u32..=10_000).prop_flat_map(|third| (Just(third), 0..=10_000 - third))
}

fn of(third: u32, fourth: u32) -> Rollout {
    rollout(&[(3, Share::basis_points(third)), (4, Share::basis_points(fourth))])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_version_gets_its_share_of_the_keys_within_what_chance_allows(
        prefix in "[a-z]{0,12}",
        share in 0_u32..=10_000,
    ) {
        let keys = 4_000;
        let rollout = rollout(&[(4, Share::basis_points(share))]);
        let version = |number| rollout.version_of(&format!("{prefix}{number}"));
        let got = (0..keys).filter(|number| version(*number) == 4).count() as f64;
        let part = f64::from(share) / 10_000.0;
        let (mean, deviation) =
            (f64::from(keys) * part, (f64::from(keys) * part * (1.0 - part)).sqrt());
        // Six deviations: a false alarm once in a million runs of this test.
        prop_assert!((got - mean).abs() <= 6.0 * deviation + 1.0, "{got} of {mean}");
    }

    #[test]
    fn a_larger_share_moves_keys_up_and_never_back(
        key in "\\PC{0,40}",
        (third, fourth) in shares(),
        more in 0_u32..=10_000,
    ) {
        let before = of(third, fourth).version_of(&key);
        prop_assert_eq!(of(third, fourth).version_of(&key), before, "the same at the same share");
        let room = 10_000 - third - fourth;
        let more = more.min(room);
        prop_assert!(of(third + more, fourth).version_of(&key) >= before);
        prop_assert!(of(third, fourth + more).version_of(&key) >= before);
        let moved_up = more.min(third);
        prop_assert!(of(third - moved_up, fourth + moved_up).version_of(&key) >= before);
    }
}

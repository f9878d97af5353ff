//! The suite every store must pass: what the port promises, one named fact at a time.
//!
//! For authors of stores: say how a handle on fresh data is opened, and have the facts made
//! into tests.
//!
//! ```
//! use std::sync::Arc;
//! use saga_core::store::conformance::Harness;
//! use saga_core::{ManualClock, MemoryStore, Store, Timestamp};
//!
//! struct Memory(Arc<MemoryStore>);
//!
//! #[async_trait::async_trait]
//! impl Harness for Memory {
//!     async fn open(&self) -> Arc<dyn Store> {
//!         self.0.clone()
//!     }
//! }
//!
//! fn memory() -> Memory {
//!     let clock = ManualClock::at(Timestamp::from_micros(1_800_000_000_000_000));
//!     Memory(Arc::new(MemoryStore::new(Arc::new(clock))))
//! }
//!
//! // In a file of tests: one `#[test]` for each fact, bearing its name.
//! saga_core::store_conformance!(memory());
//! ```
//!
//! The store's own clock decides about leases and dueness, and the suite cannot move it: it
//! uses leases of no length and moments far away, so it never waits.

mod appends;
mod audit;
mod claims;
mod commands;
mod definitions;
mod dropped;
mod feed;
mod leases;
mod queries;
mod registers;
mod retention;
mod scene;
mod starts;
mod walk;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Store;
use crate::context::BoxFuture;
use scene::Scene;

/// Where the suite gets its stores from.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A handle on the data of this harness, which is empty at first.
    ///
    /// It is called several times: the handles stand for several processes on one database and
    /// should share as little as the store allows.
    async fn open(&self) -> Arc<dyn Store>;
}

/// One thing that must hold for a store.
pub struct Fact {
    /// What must hold, as the name of a test.
    pub name: &'static str,
    check: fn(Scene) -> BoxFuture<()>,
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Fact {
    /// Checks the fact on an empty store. Needs a tokio runtime, best one with several threads.
    ///
    /// # Panics
    /// When it does not hold.
    pub async fn check(&self, harness: &dyn Harness) {
        let scene = Scene::new(harness.open().await, harness.open().await);
        (self.check)(scene).await;
    }
}

/// Checks every fact, each on an empty store of its own.
///
/// # Panics
/// At the first fact that does not hold.
pub async fn run_all<H: Harness>(harness: impl Fn() -> H) {
    for fact in FACTS {
        fact.check(&harness()).await;
    }
}

/// Checks the fact of this name on a runtime of its own: what the tests made by
/// [`store_conformance`](crate::store_conformance) call.
///
/// # Panics
/// When it does not hold, or when there is no such fact.
pub fn check(name: &str, harness: &dyn Harness) {
    let fact = FACTS.iter().find(|fact| fact.name == name).expect("a fact of the suite");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.expect("a runtime for the test").block_on(fact.check(harness));
}

/// Makes one `#[test]` for each fact of the suite, given an expression that makes a [`Harness`]
/// with no data.
///
/// [`Harness`]: crate::store::conformance::Harness
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::__store_facts! { __store_tests, $harness }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_tests {
    (($harness:expr) $($concern:ident :: $fact:ident,)*) => {$(
        #[test]
        fn $fact() {
            $crate::store::conformance::check(stringify!($fact), &$harness);
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_list {
    (() $($concern:ident :: $fact:ident,)*) => {
        &[$(Fact { name: stringify!($fact), check: |scene| Box::pin($concern::$fact(scene)) },)*]
    };
}

/// All facts of the suite.
pub const FACTS: &[Fact] = crate::__store_facts!(__store_list);

#[doc(hidden)]
#[macro_export]
macro_rules! __store_facts {
    ($then:ident $(, $argument:expr)?) => {
        $crate::$then! { ($($argument)?)
            starts::sixty_four_racing_starts_with_one_key_give_one_saga,
            starts::a_started_saga_reads_back_as_it_was_given,
            starts::a_key_with_other_input_is_told_apart_and_changes_nothing,
            starts::different_definitions_may_share_a_key,
            starts::starts_without_a_key_are_different_sagas,
            starts::a_start_repeated_under_its_own_id_changes_nothing,
            appends::an_append_moves_the_row_and_the_log_together,
            appends::an_append_at_another_position_is_fenced_and_changes_nothing,
            appends::an_append_by_another_worker_is_fenced_and_changes_nothing,
            appends::an_append_under_another_epoch_is_fenced_and_changes_nothing,
            appends::an_append_to_an_unknown_saga_is_fenced,
            appends::a_repeated_append_succeeds_without_a_change,
            appends::an_append_repeated_late_succeeds_only_with_the_identical_row,
            appends::of_racing_appends_to_one_position_exactly_one_wins,
            appends::an_append_that_ends_or_releases_lets_go_of_the_saga,
            appends::two_hundred_sagas_appended_at_once_keep_whole_logs,
            claims::each_epoch_of_a_saga_is_granted_once_however_many_claim,
            claims::a_claim_takes_only_sagas_of_known_definitions,
            claims::a_claim_takes_at_most_its_limit,
            claims::a_claim_takes_only_what_is_due,
            claims::a_claim_passes_over_what_is_stuck_or_ended_or_owned,
            claims::one_definition_with_much_due_does_not_keep_another_waiting,
            claims::claims_without_progress_are_counted,
            leases::a_worker_without_a_live_lease_is_given_nothing,
            leases::an_expired_worker_loses_its_sagas_and_is_fenced,
            leases::the_sagas_of_an_owner_without_a_lease_are_up_for_claims,
            leases::only_a_live_lease_can_be_renewed,
            leases::a_retired_worker_hands_everything_back_at_once,
            leases::a_release_makes_the_saga_due_when_it_says,
            leases::a_release_under_another_epoch_does_nothing,
            leases::what_a_worker_owns_is_listed,
            leases::workers_are_listed_with_what_they_said,
            commands::a_command_is_stored_once_under_its_request_id,
            commands::of_racing_commands_under_one_request_id_one_is_stored,
            commands::a_command_for_an_unknown_saga_is_not_found,
            commands::a_command_makes_an_unowned_saga_due,
            commands::pending_commands_are_those_of_owned_sagas,
            commands::a_command_that_arrived_unseen_makes_a_released_saga_due,
            commands::a_command_is_answered_once,
            commands::an_answer_of_one_who_no_longer_owns_the_saga_is_not_recorded,
            commands::a_command_for_an_ended_saga_does_not_wake_it_and_is_everybodys_to_answer,
            commands::a_command_racing_the_end_of_its_saga_is_everybodys_to_answer,
            queries::sagas_are_found_by_status_and_name_and_key,
            queries::pages_have_neither_gaps_nor_duplicates,
            queries::a_page_is_bounded,
            queries::sagas_are_counted_by_status,
            queries::what_waits_is_counted_with_its_age,
            queries::a_load_is_one_snapshot,
            queries::a_log_is_read_in_pages,
            queries::an_unknown_saga_is_nothing,
            registers::a_register_is_set_only_by_who_knows_its_version,
            registers::of_racing_setters_of_one_version_exactly_one_wins,
            registers::registers_are_listed_by_the_beginning_of_their_names,
            registers::a_removed_register_is_gone_and_begins_anew,
            audit::an_entry_reads_back_as_it_was_recorded,
            audit::an_entry_recorded_again_changes_nothing,
            audit::an_entry_is_completed_once_and_by_its_id_alone,
            audit::of_racing_outcomes_of_one_entry_exactly_one_is_kept,
            audit::entries_are_found_by_actor_action_target_and_time,
            audit::pages_of_the_trail_have_neither_gaps_nor_duplicates,
            audit::a_page_of_the_trail_is_bounded,
            audit::only_entries_older_than_the_age_leave_the_oldest_first_and_at_most_the_limit,
            audit::of_many_who_shorten_the_trail_at_once_each_entry_is_counted_by_one,
            definitions::a_published_definition_is_found_under_its_name_and_version,
            definitions::the_versions_of_a_definition_are_found_under_its_name,
            definitions::policies_of_a_published_version_are_brought_up_to_date,
            definitions::another_structure_under_a_known_version_is_refused_with_the_difference,
            definitions::of_racing_structures_under_one_version_one_is_kept,
            retention::only_what_ended_longer_ago_than_the_age_is_forgotten,
            retention::a_live_or_stuck_saga_is_never_forgotten,
            retention::the_earliest_ended_are_forgotten_first_and_at_most_the_limit,
            retention::a_forgotten_saga_leaves_with_all_its_rows_and_takes_nothing_of_others,
            retention::the_key_of_a_forgotten_saga_is_free_again,
            retention::of_many_who_forget_at_once_each_saga_is_counted_by_one,
            retention::commands_that_race_with_forgetting_leave_nothing_behind,
            retention::starts_that_race_with_forgetting_give_one_saga_each,
            feed::the_feed_gives_every_transition_once_while_many_write,
            feed::a_reader_may_go_on_from_behind_any_transition,
            feed::a_transition_in_the_feed_says_whose_it_is_and_where_the_saga_stood,
            feed::a_reader_is_told_when_something_behind_its_cursor_was_forgotten,
            feed::what_follows_a_forgotten_transition_comes_behind_it,
            feed::a_cursor_from_elsewhere_or_from_ahead_is_refused,
            dropped::a_dropped_start_is_there_whole_or_not_at_all,
            dropped::a_dropped_append_is_there_whole_or_not_at_all,
            dropped::a_dropped_claim_is_there_whole_or_not_at_all,
            dropped::a_dropped_release_or_retirement_is_there_whole_or_not_at_all,
            dropped::a_dropped_command_or_answer_is_there_whole_or_not_at_all,
            dropped::a_dropped_forgetting_is_there_whole_or_not_at_all,
            dropped::dropped_reads_leave_the_store_usable,
            walk::the_store_agrees_with_the_reference_store_on_a_long_random_walk,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, MemoryStore, Timestamp};

    struct Memory(Arc<MemoryStore>);

    #[async_trait]
    impl Harness for Memory {
        async fn open(&self) -> Arc<dyn Store> {
            self.0.clone()
        }
    }

    fn memory() -> Memory {
        let clock = ManualClock::at(Timestamp::from_micros(1_800_000_000_000_000));
        Memory(Arc::new(MemoryStore::new(Arc::new(clock))))
    }

    crate::store_conformance!(memory());

    #[test]
    fn the_whole_suite_can_be_run_at_once() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(run_all(memory));
    }
}

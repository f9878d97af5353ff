//! Tests of the state machine.
//!
//! Most are one line: a shape of saga, what happened so far, what happens now,
//! and the events that follow, all in the small language of [`script`].

mod commands;
mod compensation;
mod deadline;
mod invariants;
mod legality;
mod oracle;
mod parallel;
mod pivot;
mod poison;
mod properties;
mod script;
mod transitions;
mod wait;
mod walk;
mod withdrawal;
mod world;

use script::Script;

/// Checks which events follow from `stimulus` in a saga of `shape` that has been through `given`.
#[track_caller]
fn check(shape: &str, given: &str, stimulus: &str, expected: &str) {
    let mut script = Script::of(shape);
    script.run(given);
    script.expect(stimulus, expected);
}

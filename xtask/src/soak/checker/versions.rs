//! Each saga is of one version of its definition, from its first row to its last.

use saga_core::{DefinitionRef, Event, SagaId, Transition};

use crate::soak::tally::Tally;

/// S12: the first row names the version and the content that the state row and the definition on record
/// have, and no later row names one.
pub(super) fn check(
    tally: &Tally,
    id: SagaId,
    log: &[Transition],
    of_row: &DefinitionRef,
    on_record: &DefinitionRef,
) {
    let events = log.iter().flat_map(|transition| &transition.events);
    let started = events.filter_map(|event| match event {
        Event::SagaStarted(started) => Some(&started.definition),
        _ => None,
    });
    let started: Vec<_> = started.collect();
    if started != [of_row] || of_row != on_record {
        let name = |definition: &DefinitionRef| format!("{definition} ({:?})", definition.digest);
        let started: Vec<_> = started.into_iter().map(name).collect();
        let what = format!(
            "saga {id}: its log names {started:?}, its state row {}, and on record is {}",
            name(of_row),
            name(on_record)
        );
        tally.violated("S12", what);
    }
}

#[cfg(test)]
mod tests {
    use saga_core::{Digest, Payload, SagaStarted, Timestamp};

    use super::*;

    fn version(version: u32, digest: u8) -> DefinitionRef {
        let digest = Digest::from_bytes([digest; 16]);
        DefinitionRef { name: "buy".to_owned(), version, digest }
    }

    fn found(log: &[&DefinitionRef], of_row: &DefinitionRef, on_record: &DefinitionRef) -> bool {
        let started = |definition: &&DefinitionRef| {
            let (definition, input) = ((*definition).clone(), Payload::null());
            let started = SagaStarted {
                definition,
                input,
                key: None,
                by: None,
                deadline: None,
                traceparent: None,
            };
            Event::SagaStarted(started)
        };
        let events = log.iter().map(started).collect();
        let log = [Transition { seq: 1, epoch: 0, at: Timestamp::default(), events }];
        let tally = Tally::default();
        check(&tally, SagaId::from_bytes([7; 16]), &log, of_row, on_record);
        tally.counted().violations.contains_key("S12")
    }

    #[test]
    fn a_saga_of_another_version_or_content_than_its_log_says_is_found() {
        let (one, two, changed) = (version(1, 1), version(2, 2), version(1, 3));
        assert!(!found(&[&one], &one, &one));
        assert!(found(&[&one], &two, &two));
        assert!(found(&[&one], &one, &changed));
        assert!(found(&[&one], &changed, &one));
        assert!(found(&[&one, &two], &one, &one));
        assert!(found(&[], &one, &one));
    }
}

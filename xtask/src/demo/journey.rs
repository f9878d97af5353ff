//! The journey of one compensated saga, for a reader who wants to see it happen.

use super::api::{LogEntry, Status};
use super::verdicts::Ended;

/// The compensated saga with the most to tell: the one that undid the most steps.
pub(crate) fn choose(ended: &[Ended]) -> Option<&Ended> {
    let compensated = ended.iter().filter(|one| one.view.status == Status::Compensated);
    compensated.max_by_key(|one| {
        let undone = one.view.steps.iter().filter(|step| step.state == "compensated").count();
        (undone, one.view.ended_at.unwrap_or(0) - one.view.started_at)
    })
}

/// The journey in lines: each event with its time since the start.
pub(crate) fn lines(saga: &Ended, log: &[LogEntry]) -> Vec<String> {
    let planned = &saga.accepted.planned;
    let why = planned.business.refusal().map_or(String::new(), |why| format!(", with {why}"));
    let heading = format!(
        "one compensated saga, step by step: {} (saga {}{why})",
        planned.order.order, saga.accepted.saga_id
    );
    let start = log.first().map_or(0, |entry| entry.at);
    let events = log.iter().flat_map(|entry| {
        let seconds = (entry.at - start) as f64 / 1e6;
        entry.events.iter().map(move |event| format!("  {seconds:>8.3} s  {event}"))
    });
    std::iter::once(heading).chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::super::verdicts::tests::ended;
    use super::*;

    #[test]
    fn the_saga_that_undid_the_most_is_told() {
        let mut long = ended(2, Status::Compensated, 5);
        long.view.steps[0].state = "compensated".to_owned();
        let all = [ended(0, Status::Completed, 90), ended(1, Status::Compensated, 50), long];
        assert_eq!(choose(&all).unwrap().accepted.saga_id, "saga-2");
        assert!(choose(&all[..1]).is_none());
    }

    #[test]
    fn each_event_is_told_with_its_time_since_the_start() {
        let log = [
            LogEntry { at: 5_000_000, events: vec!["saga started".to_owned()] },
            LogEntry { at: 6_250_000, events: vec!["step a failed".to_owned(), "b".to_owned()] },
        ];
        let lines = lines(&ended(0, Status::Compensated, 5), &log);
        assert_eq!(
            lines[1..],
            ["     0.000 s  saga started", "     1.250 s  step a failed", "     1.250 s  b",]
        );
    }
}

//! Answers for people.

use std::fmt::Write as _;

use saga_core::WaitReason;
use serde_json::json;

use super::terminal;
use super::ways_out::ways_out;
use crate::body::{
    BreakersBody, CommandResultBody, EnvelopeBody, ListBody, LogBody, SagaBody, TransitionBody,
    WorkersBody,
};
use crate::config::Values;
use crate::declared::Declared;

/// A saga; `at` are the flags that name the daemon in commands to be copied.
pub(super) fn saga(saga: &SagaBody, at: &str) -> String {
    let mut text = format!("saga {}\n", saga.id);
    let mut facts = vec![
        ("definition", format!("{} v{}", saga.name, saga.version)),
        ("status", saga.status.to_string()),
        ("started", saga.started_at.to_string()),
    ];
    facts.extend(saga.key.as_ref().map(|key| ("key", key.to_string())));
    facts.extend(saga.ended_at.map(|at| ("ended", at.to_string())));
    facts.extend(saga.verdict.as_ref().map(|verdict| ("verdict", verdict.to_string())));
    facts.extend(saga.wait.as_ref().map(|wait| ("waits", wait.text.clone())));
    if let Some(WaitReason::Stuck { code, .. }) = saga.wait.as_ref().map(|wait| &wait.reason) {
        // As the alert says it, and the heading in OPERATIONS.md.
        facts.push(("reason", code.clone()));
    }
    let plural = if saga.seq == 1 { "" } else { "s" };
    facts.push(("log", format!("{} transition{plural}", saga.seq)));
    for (name, fact) in facts {
        let _ = writeln!(text, "  {name:<11} {}", terminal::line(&fact));
    }
    let rows = saga.steps.iter().map(|step| {
        let attempts = match step.compensation_attempts {
            0 => step.attempts.to_string(),
            compensations => format!("{} + {compensations}", step.attempts),
        };
        vec![
            step.name.clone(),
            step.kind.to_string(),
            word(step.state),
            word(step.effect),
            attempts,
            step.last_error.clone().unwrap_or_default(),
        ]
    });
    text.push('\n');
    text += &table(&["STEP", "KIND", "STATE", "EFFECT", "ATTEMPTS", "LAST ERROR"], rows);
    text + &ways_out(saga, at)
}

/// The word that the API has for a value.
fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn list(list: &ListBody) -> String {
    let rows = list.sagas.iter().map(|saga| {
        vec![
            saga.id.to_string(),
            format!("{} v{}", saga.name, saga.version),
            saga.status.to_string(),
            saga.started_at.to_string(),
            saga.key.as_ref().map(ToString::to_string).unwrap_or_default(),
            saga.wait.as_ref().map(|wait| wait.text.clone()).unwrap_or_default(),
        ]
    });
    let mut text = table(&["ID", "DEFINITION", "STATUS", "STARTED", "KEY", "WAITS FOR"], rows);
    let counts: Vec<_> = list.counts.iter().map(|(status, n)| format!("{n} {status}")).collect();
    let _ = writeln!(text, "\n{}", counts.join(", "));
    if let Some(next) = list.next {
        let _ = writeln!(text, "more: --before {next}");
    }
    text
}

pub(super) fn workers(workers: &WorkersBody) -> String {
    let rows = workers.workers.iter().map(|worker| {
        let lease = if worker.expired { "ran out at" } else { "until" };
        vec![
            worker.name.clone(),
            worker.id.to_string(),
            format!("{lease} {}", worker.lease_until),
            worker.definitions.join(", "),
        ]
    });
    table(&["WORKER", "ID", "LEASE", "KNOWS"], rows)
}

pub(super) fn breakers(breakers: &BreakersBody) -> String {
    let rows = breakers.breakers.iter().map(|breaker| {
        let state = word(&breaker.state);
        let state = match breaker.open_until {
            Some(until) => format!("{state} until {until}"),
            None => state,
        };
        vec![breaker.participant.clone(), breaker.op.clone(), state]
    });
    table(&["PARTICIPANT", "CALLS", "BREAKER"], rows)
}

pub(super) fn log(log: &LogBody) -> String {
    let mut text: String = log.transitions.iter().map(transition).collect();
    if let Some(next) = log.next {
        let _ = writeln!(text, "more: --after {next}");
    }
    text
}

/// One transition, an event per line.
pub(super) fn transition(transition: &TransitionBody) -> String {
    let line = |event: &crate::body::EventBody| {
        format!("{:>4}  {}  {}\n", transition.seq, transition.at, terminal::line(&event.text))
    };
    transition.events.iter().map(line).collect()
}

/// One transition of any saga, an event per line.
pub(super) fn envelope(envelope: &EnvelopeBody) -> String {
    let EnvelopeBody { saga_id, name, status, seq, at, events, unreadable, .. } = envelope;
    let line = |text: &str| {
        let text = terminal::line(text);
        format!("{at}  {saga_id}  {name}  {status:<12} {seq:>4}  {text}\n")
    };
    match unreadable {
        Some(why) => line(why),
        None => events.iter().map(|event| line(&event.text)).collect(),
    }
}

pub(super) fn command(result: &CommandResultBody, at: &str) -> String {
    let done = match result.carried_out {
        true => "carried out",
        false => "on record; the worker that takes the saga up will carry it out",
    };
    format!("{done} (request id {})\n\n{}", result.request_id, saga(&result.saga, at))
}

pub(super) fn declared(declared: &[Declared]) -> String {
    let rows = declared.iter().map(|one| {
        let spec = one.definition.spec();
        vec![
            spec.reference().to_string(),
            spec.steps.len().to_string(),
            one.secrets.join(", "),
            one.file.clone(),
        ]
    });
    table(&["DEFINITION", "STEPS", "SECRETS", "FILE"], rows)
}

pub(super) fn config(values: &Values, as_json: bool) {
    if as_json {
        let settings: Vec<_> = values
            .shown()
            .map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin.to_string() }))
            .collect();
        println!("{:#}", json!(settings));
        return;
    }
    let rows =
        values.shown().map(|(key, value, origin)| vec![key.to_owned(), value, origin.to_string()]);
    print!("{}", table(&["SETTING", "VALUE", "FROM"], rows));
}

/// Columns as wide as what stands in them; the last one is not padded.
pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    let rows = rows.map(|row| row.iter().map(|cell| terminal::line(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [vec!["é".to_owned(), "1".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["A", "B"], rows.into_iter()), "A     B\né     1\nlong\n");
    }
}

//! The audit trail.

use std::process::ExitCode;

use reqwest::Method;

use super::Stop;
use super::arguments::Audit;
use super::remote::{ago, body, print, request};
use super::show::table;
use crate::body::{AuditEntryBody, AuditListBody};

pub(super) async fn list(asked: &Audit) -> Result<ExitCode, Stop> {
    let limit = asked.limit.map(|limit| limit.to_string());
    let (since, until) = (ago("--since", &asked.since)?, ago("--until", &asked.until)?);
    let filters = [
        ("actor", &asked.actor),
        ("action", &asked.action),
        ("target", &asked.target),
        ("since", &since),
        ("until", &until),
        ("before", &asked.before),
        ("limit", &limit),
    ];
    let filters: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    let request = request(&asked.remote, Method::GET, &["v1", "audit"])?.query(&filters);
    print(&asked.remote, &body::<AuditListBody>(request).await?, lines)?;
    Ok(ExitCode::SUCCESS)
}

fn lines(list: &AuditListBody) -> String {
    let head = ["TIME", "WHO", "FROM", "WHAT", "TO WHAT", "OUTCOME", "WHY"];
    let mut text = table(&head, list.entries.iter().map(line));
    if let Some(next) = list.next {
        text += &format!("\nmore: --before {next}\n");
    }
    text
}

fn line(entry: &AuditEntryBody) -> Vec<String> {
    let outcome = match (entry.status, &entry.problem) {
        (Some(status), Some(problem)) => format!("{status} {problem}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "unknown".to_owned(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        entry.at.to_string(),
        format!("{} ({})", entry.actor, entry.role),
        text(&entry.remote),
        entry.action.clone(),
        text(&entry.target),
        outcome,
        text(&entry.reason),
    ]
}

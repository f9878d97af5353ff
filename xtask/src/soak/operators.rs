//! Operators: commands to live sagas, dealt by the seed and given through the order service, each
//! until it has a clear answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::StatusCode;
use saga_core::SagaId;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::crew::Crew;
use crate::demo::api;
use crate::demo::rng::Rng;

/// How long a command is given again and again until it has a clear answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a saga is paused, in milliseconds.
const PAUSED_MS: std::ops::Range<u64> = 50..1_500;
/// Most operators at work at the same time.
const OPERATORS_MAX: usize = 32;
/// Of a hundred looks at the live sagas, how many end with a command to one of them.
const SHARE: u64 = 70;

/// Whom the log names as the one who asked.
const ACTOR: &str = "soak";

/// What a command was told in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It was carried out.
    CarriedOut,
    /// It was refused, for this reason.
    Refused(String),
    /// There is no such saga.
    NoSuchSaga,
}

/// A command that has its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub saga: SagaId,
    pub request_id: String,
    pub verb: &'static str,
    pub told: Told,
}

/// All operators.
#[derive(Debug)]
pub(super) struct Operators {
    desk: Arc<Desk>,
    rng: Rng,
    number: u64,
    at_work: JoinSet<()>,
}

/// Where commands are given.
#[derive(Debug)]
struct Desk {
    crew: Arc<Crew>,
    client: reqwest::Client,
    url: String,
    given: Mutex<Vec<Given>>,
}

/// One command to one saga, and what goes with it.
#[derive(Debug)]
struct Errand {
    saga: SagaId,
    request_id: String,
    verb: &'static str,
    /// It is given twice at the same time, under the same request id.
    twice: bool,
    paused: Duration,
}

impl Operators {
    /// Operators who give their commands to the order service at `url`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(super) fn new(crew: Arc<Crew>, url: String) -> anyhow::Result<Self> {
        let rng = Rng::new(crew.options.seed.wrapping_mul(7_919));
        let desk = Desk { crew, client: api::client()?, url, given: Mutex::default() };
        Ok(Self { desk: Arc::new(desk), rng, number: 0, at_work: JoinSet::new() })
    }

    /// Perhaps sets an operator on one of the live sagas.
    pub(super) fn look(&mut self, live: &HashMap<SagaId, u64>) {
        while self.at_work.try_join_next().is_some() {}
        if self.rng.below(100) >= SHARE || self.at_work.len() >= OPERATORS_MAX {
            return;
        }
        let mut sagas: Vec<_> = live.keys().copied().collect();
        if sagas.is_empty() {
            return;
        }
        sagas.sort_unstable();
        let saga = sagas[self.rng.below(sagas.len() as u64) as usize];
        self.number += 1;
        let verb = verb(&mut self.rng);
        let paused = PAUSED_MS.start + self.rng.below(PAUSED_MS.end - PAUSED_MS.start);
        let errand = Errand {
            saga,
            request_id: format!("{verb}-{}", self.number),
            verb,
            twice: self.rng.below(4) == 0,
            paused: Duration::from_millis(paused),
        };
        self.at_work.spawn(run(Arc::clone(&self.desk), errand));
    }

    /// Waits until every command has its answer, and returns them all.
    pub(super) async fn finish(mut self) -> Vec<Given> {
        while self.at_work.join_next().await.is_some() {}
        std::mem::take(&mut self.desk.given.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is asked for: mostly what a customer or a careful operator asks.
fn verb(rng: &mut Rng) -> &'static str {
    match rng.below(100) {
        0..28 => "cancel",
        28..38 => "compensate",
        38..60 => "pause",
        60..90 => "retry",
        _ => "stop",
    }
}

/// Gives one command. Whoever pauses a saga lets it go on as well, whatever became of the pause.
async fn run(desk: Arc<Desk>, errand: Errand) {
    desk.give(&errand).await;
    if errand.verb == "pause" {
        sleep(errand.paused).await;
        let request_id = format!("resume-after-{}", errand.request_id);
        desk.give(&Errand { request_id, verb: "resume", ..errand }).await;
    }
}

impl Desk {
    async fn give(&self, errand: &Errand) {
        let tally = &self.crew.tally;
        let told = if errand.twice {
            let (one, other) = tokio::join!(self.clear_answer(errand), self.clear_answer(errand));
            if let (Ok(one), Ok(other)) = (&one, &other)
                && one != other
            {
                let Errand { saga, request_id, .. } = errand;
                let what = format!(
                    "saga {saga}: command {request_id}, given twice, was told {one:?} and {other:?}"
                );
                tally.violated("S14", what);
            }
            one.or(other)
        } else {
            self.clear_answer(errand).await
        };
        match told {
            Ok(told) => {
                tally.did(match told {
                    Told::CarriedOut => "command carried out",
                    Told::Refused(_) | Told::NoSuchSaga => "command refused",
                });
                let Errand { saga, verb, .. } = *errand;
                let request_id = errand.request_id.clone();
                let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                given.push(Given { saga, request_id, verb, told });
            }
            // Nothing was told, so nothing was promised.
            Err(_) => tally.did("command without an answer"),
        }
    }

    async fn clear_answer(&self, errand: &Errand) -> anyhow::Result<Told> {
        api::until_clear(PATIENCE, || self.ask(errand)).await
    }

    async fn ask(&self, errand: &Errand) -> anyhow::Result<Told> {
        let call = self.client.post(format!("{}/orders/{}/commands", self.url, errand.saga));
        let body = json!({ "action": errand.verb, "actor": ACTOR, "reason": errand.request_id });
        let call = call.header("Idempotency-Key", &errand.request_id).json(&body);
        let response = call.send().await?;
        let status = response.status();
        told(status, &response.text().await?)
    }
}

/// What an answer of the order service says.
fn told(status: StatusCode, body: &str) -> anyhow::Result<Told> {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    match status {
        StatusCode::OK => Ok(Told::CarriedOut),
        StatusCode::NOT_FOUND => Ok(Told::NoSuchSaga),
        StatusCode::CONFLICT if text("type").ends_with("/command-refused") => {
            let detail = text("detail");
            let why = detail.strip_prefix("refused: ").context("a refusal that says nothing")?;
            Ok(Told::Refused(why.to_owned()))
        }
        // On record, and not carried out yet: it is asked for again.
        StatusCode::ACCEPTED => Err(api::NotNow("the command is on record".to_owned()).into()),
        StatusCode::SERVICE_UNAVAILABLE => Err(api::NotNow(text("detail")).into()),
        _ => Err(anyhow!("the command was answered {status}: {body}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_clear_or_the_command_is_given_again() {
        let refused = r#"{"type": "x/command-refused", "detail": "refused: nothing is waiting"}"#;
        let refusal = Told::Refused("nothing is waiting".to_owned());
        assert_eq!(told(StatusCode::OK, "{}").unwrap(), Told::CarriedOut);
        assert_eq!(told(StatusCode::CONFLICT, refused).unwrap(), refusal);
        assert_eq!(told(StatusCode::NOT_FOUND, "").unwrap(), Told::NoSuchSaga);
        for status in [StatusCode::ACCEPTED, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(told(status, "{}").unwrap_err().is::<api::NotNow>(), "{status}");
        }
        let conflict = r#"{"type": "x/key-conflict", "detail": "used before"}"#;
        assert!(!told(StatusCode::CONFLICT, conflict).unwrap_err().is::<api::NotNow>());
    }

    #[test]
    fn every_kind_of_command_is_dealt() {
        let mut rng = Rng::new(3);
        let dealt: std::collections::BTreeSet<_> = (0..200).map(|_| verb(&mut rng)).collect();
        assert_eq!(dealt.len(), 5);
    }
}

//! The HTTP API of the daemons, as the demo uses it: any of them, and another one when it is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::api::{self, Answer, Counts, LogEntry, NotNow, SagaView, answered, until_clear};
use super::driver::Shop;
use super::plan::Order;

/// The saga that the daemons run.
const SAGA: &str = "place-order";
/// How the type of the problem ends that answers a key with another input.
const KEY_CONFLICT: &str = "/key-conflict";
/// Most transitions that one call shows.
const LOG_PAGE: u32 = 500;

/// Where the daemons are at the moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<Vec<String>>>);

impl Addresses {
    /// A daemon is there.
    pub(crate) fn add(&self, url: &str) {
        self.lock().push(url.to_owned());
    }

    /// A daemon is gone.
    pub(crate) fn remove(&self, url: &str) {
        self.lock().retain(|known| known != url);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // Held for a look only, never across a call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client of all daemons, which share one store.
#[derive(Debug, Clone)]
pub(crate) struct Daemons {
    client: reqwest::Client,
    addresses: Addresses,
    patience: Duration,
    turn: Arc<AtomicUsize>,
}

impl Daemons {
    /// The daemons at these addresses, which may be out of order for as long as `patience` lasts.
    pub(crate) fn new(client: reqwest::Client, addresses: Addresses, patience: Duration) -> Self {
        Self { client, addresses, patience, turn: Arc::default() }
    }

    /// How many sagas are in each status; asked once, since whoever counts asks again anyway.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        #[derive(Deserialize)]
        struct List {
            counts: Counts,
        }
        let url = format!("{}/v1/sagas?limit=1", self.next()?);
        let list: List = api::try_get(&self.client, &url).await?;
        Ok(list.counts)
    }

    /// A saga as it stands.
    pub(crate) async fn saga(&self, id: &str) -> anyhow::Result<SagaView> {
        self.get(&format!("/v1/sagas/{id}")).await
    }

    /// The log of a saga, oldest transition first.
    pub(crate) async fn log(&self, id: &str) -> anyhow::Result<Vec<LogEntry>> {
        #[derive(Deserialize)]
        struct Log {
            transitions: Vec<Transition>,
        }
        #[derive(Deserialize)]
        struct Transition {
            at: i64,
            events: Vec<Event>,
        }
        #[derive(Deserialize)]
        struct Event {
            text: String,
        }
        let log: Log = self.get(&format!("/v1/sagas/{id}/log?limit={LOG_PAGE}")).await?;
        let entry = |transition: Transition| LogEntry {
            at: transition.at,
            events: transition.events.into_iter().map(|event| event.text).collect(),
        };
        Ok(log.transitions.into_iter().map(entry).collect())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        until_clear(self.patience, || async {
            api::try_get(&self.client, &format!("{}{path}", self.next()?)).await
        })
        .await
    }

    /// The daemons take turns; a call that failed is made again to the next one.
    fn next(&self) -> anyhow::Result<String> {
        let addresses = self.addresses.lock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let url = addresses.get(turn % addresses.len().max(1)).cloned();
        url.ok_or_else(|| NotNow("no daemon runs at the moment".to_owned()).into())
    }

    async fn try_place(&self, key: &str, order: &Order) -> anyhow::Result<Answer> {
        let call = self.client.post(format!("{}/v1/sagas/{SAGA}", self.next()?));
        let response = call.header("Idempotency-Key", key).json(order).send().await?;
        let status = response.status();
        read_answer(status, &response.text().await?)
    }
}

impl Shop for Daemons {
    async fn place(&self, key: &str, order: &Order) -> anyhow::Result<Answer> {
        until_clear(self.patience, || self.try_place(key, order)).await
    }
}

/// What the answer to a start means.
fn read_answer(status: StatusCode, body: &str) -> anyhow::Result<Answer> {
    let json: BTreeMap<String, Value> = serde_json::from_str(body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    match status {
        StatusCode::CREATED | StatusCode::OK => match text("id") {
            Some(id) => {
                let is_new = status == StatusCode::CREATED;
                Ok(Answer::Accepted { order_id: id.to_owned(), is_new })
            }
            None => anyhow::bail!("a start was answered {status} without an id: {body}"),
        },
        StatusCode::CONFLICT if text("type").is_some_and(|t| t.ends_with(KEY_CONFLICT)) => {
            Ok(Answer::Conflict)
        }
        _ if status.is_client_error() => {
            Ok(Answer::Refused { status: status.as_u16(), body: body.to_owned() })
        }
        _ => Err(answered(&format!("POST /v1/sagas/{SAGA}"), status, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_new_known_in_conflict_or_refused() {
        let id = r#"{"id": "saga-1"}"#;
        let accepted = |is_new| Answer::Accepted { order_id: "saga-1".to_owned(), is_new };
        assert_eq!(read_answer(StatusCode::CREATED, id).unwrap(), accepted(true));
        assert_eq!(read_answer(StatusCode::OK, id).unwrap(), accepted(false));
        let conflict = r#"{"type": "https://example/problems/key-conflict"}"#;
        assert_eq!(read_answer(StatusCode::CONFLICT, conflict).unwrap(), Answer::Conflict);
        let other = read_answer(StatusCode::CONFLICT, "{}").unwrap();
        assert!(matches!(other, Answer::Refused { status: 409, .. }), "{other:?}");
    }

    #[test]
    fn an_answer_that_is_none_is_asked_for_again() {
        let later = r#"{"detail": "the store does not answer"}"#;
        let error = read_answer(StatusCode::SERVICE_UNAVAILABLE, later).unwrap_err();
        assert!(error.is::<NotNow>(), "{error}");
        assert!(read_answer(StatusCode::INTERNAL_SERVER_ERROR, "").is_err());
        assert!(read_answer(StatusCode::CREATED, "{}").is_err());
    }

    #[test]
    fn daemons_take_turns_and_one_that_is_gone_is_left_out() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let addresses = Addresses::default();
        let daemons =
            Daemons::new(reqwest::Client::new(), addresses.clone(), Duration::from_secs(1));
        assert!(daemons.next().unwrap_err().is::<NotNow>());
        addresses.add("http://one");
        addresses.add("http://two");
        let both = [daemons.next().unwrap(), daemons.next().unwrap()];
        assert!(both.contains(&"http://one".to_owned()) && both.contains(&"http://two".to_owned()));
        addresses.remove("http://one");
        assert_eq!(daemons.next().unwrap(), "http://two");
    }
}

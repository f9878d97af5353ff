//! What is put under load.

pub(crate) mod engine;
pub(crate) mod http;
pub(crate) mod processes;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use clap::ValueEnum;
use saga_core::BreakerState;
use saga_examples::switches::Switches;
use saga_worker::Client;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::order::{order, participants};
use super::recorder::End;
use engine::Engine;
use http::Starter;
use processes::{Alone, Shop};

/// What is put under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Workers in this process, whose participants are functions
    Engine,
    /// A daemon as a process (or the one at `--url`), over HTTP, with participants that keep nothing
    Daemon,
    /// The order system of the example: a daemon and five services with books, all processes
    Orders,
}

/// A running target.
#[derive(Debug)]
pub(crate) enum Target {
    Engine(Engine),
    Daemon(Starter, Box<Alone>),
    Orders(Starter, Box<Shop>),
    /// A daemon of somebody else: it can be put under load and nothing else.
    Given(Starter, Arc<str>),
}

/// What starts sagas at a target. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Engine(Arc<[Client]>),
    Http(Starter),
    /// With the input to send, in which `{n}` becomes the number of the saga.
    Given(Starter, Arc<str>),
}

impl Caller {
    pub(crate) async fn place(&self, number: u64) -> End {
        match self {
            Self::Engine(clients) => engine::place(clients, number).await,
            Self::Http(starter) => match serde_json::to_vec(&order(number)) {
                Ok(input) => starter.place(number, input).await,
                Err(error) => End::NotStarted(error.to_string()),
            },
            Self::Given(starter, input) => {
                let input = input.replace("{n}", &number.to_string()).into_bytes();
                starter.place(number, input).await
            }
        }
    }
}

/// A breaker that is not closed, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BreakerSample {
    pub(crate) at_s: f64,
    pub(crate) participant: String,
    pub(crate) op: String,
    pub(crate) state: String,
}

impl Target {
    pub(crate) fn caller(&self) -> Caller {
        match self {
            Self::Engine(engine) => {
                Caller::Engine(engine.workers.iter().map(|w| w.client().clone()).collect())
            }
            Self::Daemon(starter, _) | Self::Orders(starter, _) => Caller::Http(starter.clone()),
            Self::Given(starter, input) => Caller::Given(starter.clone(), input.clone()),
        }
    }

    /// Tells every participant how to misbehave from now on, all at once.
    pub(crate) async fn set(
        &self,
        switches: impl Fn(&'static str) -> Switches,
    ) -> anyhow::Result<()> {
        let mut told = JoinSet::new();
        for name in participants() {
            match self {
                Self::Engine(engine) => engine.participants.set(name, switches(name)),
                Self::Daemon(_, alone) => alone.participants.set(name, switches(name)),
                Self::Orders(_, shop) => {
                    told.spawn(shop.tell(name, &switches(name))?);
                }
                Self::Given(..) => {
                    ensure!(
                        switches(name).mix == saga_examples::switches::Mix::default(),
                        "the participants of a given daemon cannot be made to misbehave: leave out \
                         --mix, --outage and --slow"
                    );
                }
            }
        }
        while let Some(answered) = told.join_next().await {
            answered??;
        }
        Ok(())
    }

    /// The breakers that are not closed, or nothing where the daemon does not say.
    pub(crate) async fn breakers(&self, at_s: f64) -> Option<Vec<BreakerSample>> {
        let sample = |participant, op, state| BreakerSample { at_s, participant, op, state };
        match self {
            Self::Engine(engine) => {
                let views = engine.workers.iter().flat_map(saga_worker::Worker::breakers);
                let open = views.filter(|view| view.state != BreakerState::Closed);
                let open = open.map(|view| {
                    let state = serde_json::to_value(view.state).unwrap_or_default();
                    let state = state.as_str().unwrap_or("unknown").to_owned();
                    sample(view.participant, view.op.to_string(), state)
                });
                Some(open.collect())
            }
            Self::Daemon(starter, _) | Self::Orders(starter, _) | Self::Given(starter, _) => {
                let views = starter.breakers().await.ok()?;
                let open = views.into_iter().filter(|view| view.state != "closed");
                Some(open.map(|view| sample(view.participant, view.op, view.state)).collect())
            }
        }
    }

    /// How many requests had to be made again.
    pub(crate) fn repeats(&self) -> u64 {
        match self {
            Self::Engine(_) => 0,
            Self::Daemon(starter, _) | Self::Orders(starter, _) | Self::Given(starter, _) => {
                starter.repeats()
            }
        }
    }

    /// The process that can be frozen or killed.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Daemon(_, alone) => alone.daemon.process.pid(),
            Self::Orders(_, shop) => shop.daemon.process.pid(),
            Self::Engine(_) | Self::Given(..) => None,
        }
    }

    /// A door to the store, where it is this run's.
    pub(crate) async fn record(&self) -> anyhow::Result<Option<Client>> {
        let url = match self {
            Self::Engine(engine) => return Ok(Some(engine.workers[0].client().clone())),
            Self::Daemon(_, alone) => &alone.daemon.store,
            Self::Orders(_, shop) => &shop.daemon.store,
            Self::Given(..) => return Ok(None),
        };
        Ok(Some(Client::new(saga_store::connect(url).await?, Vec::new())?))
    }

    /// The URLs of services with books.
    pub(crate) fn bookkeepers(&self) -> Option<&BTreeMap<&'static str, String>> {
        match self {
            Self::Orders(_, shop) => Some(&shop.urls),
            Self::Engine(_) | Self::Daemon(..) | Self::Given(..) => None,
        }
    }

    pub(crate) async fn stop(self) {
        if let Self::Engine(engine) = self {
            engine.stop().await;
        }
    }
}

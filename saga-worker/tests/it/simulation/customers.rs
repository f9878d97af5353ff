//! Those who start sagas, command them and watch them, and never give up before they know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use saga_core::{Command, CommandAction, IdempotencyKey, SagaId};
use saga_worker::{Client, CommandError, StartError};
use tokio::time::sleep;

use super::swarm::{Dice, Swarm};

/// What one customer has been told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) id: SagaId,
    pub(super) name: &'static str,
    /// Request ids and what was answered; nothing for those whose answer never came.
    pub(super) commands: Vec<(IdempotencyKey, CommandAction, Option<bool>)>,
    /// The positions seen while watching, if this one watched.
    pub(super) watched: Option<Vec<u64>>,
}

pub(super) struct Customer {
    pub(super) number: u64,
    pub(super) clients: Arc<Mutex<Vec<Client>>>,
    pub(super) swarm: Swarm,
    pub(super) dice: Dice,
}

impl Customer {
    pub(super) async fn visit(self) -> Result<Told, String> {
        sleep(self.dice.time(20_000)).await;
        let name = if self.number.is_multiple_of(3) { "group" } else { "line" };
        let id = self.start(name).await?;
        if self.dice.below(4) == 0 && self.start(name).await? != id {
            return Err(format!("S11: order {} was started twice", self.number));
        }
        let watching = (self.dice.below(4) == 0).then(|| tokio::spawn(watch(self.client(), id)));
        let mut commands = Vec::new();
        while self.dice.hits(self.swarm.commands) {
            sleep(self.dice.time(1_500)).await;
            commands.push(self.command(id, commands.len()).await);
        }
        let watched = match watching {
            Some(watching) => Some(watching.await.map_err(|error| error.to_string())??),
            None => None,
        };
        Ok(Told { id, name, commands, watched })
    }

    fn client(&self) -> Client {
        let clients = self.clients.lock().unwrap();
        clients[self.dice.below(clients.len() as u64) as usize].clone()
    }

    async fn start(&self, name: &str) -> Result<SagaId, String> {
        loop {
            let start = self.client().start(name, &self.number);
            match start.key(format!("order-{}", self.number)).await {
                Ok(started) => return Ok(started.id),
                Err(StartError::Store(_)) => sleep(self.dice.time(500)).await,
                Err(other) => return Err(format!("start: {other}")),
            }
        }
    }

    async fn command(
        &self,
        id: SagaId,
        number: usize,
    ) -> (IdempotencyKey, CommandAction, Option<bool>) {
        let action = match self.dice.below(10) {
            0..4 => CommandAction::Cancel,
            4 => CommandAction::Stop,
            5..7 => CommandAction::Pause,
            7..9 => CommandAction::Resume,
            _ => CommandAction::Retry,
        };
        let command = command(format!("{}-{number}", self.number), action.clone());
        let request_id = command.request_id.clone();
        for _ in 0..4 {
            match self.client().command(id, command.clone()).await {
                Ok(()) => return (request_id, action, Some(true)),
                Err(CommandError::Refused(_)) => return (request_id, action, Some(false)),
                Err(_) => sleep(self.dice.time(500)).await,
            }
        }
        (request_id, action, None)
    }
}

/// Follows a saga to its end across every failure of the store.
async fn watch(client: Client, id: SagaId) -> Result<Vec<u64>, String> {
    let mut seen: Vec<u64> = Vec::new();
    loop {
        let events = client.events(id, seen.last().copied().unwrap_or(0));
        pin_mut!(events);
        loop {
            match events.next().await {
                Some(Ok(transition)) => seen.push(transition.seq),
                Some(Err(saga_worker::ClientError::Store(_))) => break,
                Some(Err(other)) => return Err(format!("watching: {other}")),
                None => return Ok(seen),
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn command(request_id: String, action: CommandAction) -> Command {
    Command {
        request_id: IdempotencyKey::new(request_id).expect("short and printable"),
        actor: "customer".to_owned(),
        reason: "changed their mind".to_owned(),
        action,
        expected_seq: None,
    }
}

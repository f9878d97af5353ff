//! What the order service knows of sagas: the door to them, which version of an order's saga is being
//! rolled out, and rows of orders that appear together with their sagas.

use std::sync::Arc;

use saga_core::{SagaId, Share};
use saga_participant::Problem;
use saga_worker::{Client, RolloutError, Start};
use tokio::sync::OnceCell;

use super::beside::{Beside, Placed};
use super::not_now;
use crate::order::Order;
use crate::place_order::PLACE_ORDER;

/// The sagas of the orders.
#[derive(Debug, Clone)]
pub struct Shop {
    sagas: Client,
    beside: Option<Beside>,
    rollout: Option<Rollout>,
}

/// The newer version of the saga, and the client that gives it its share.
#[derive(Debug, Clone)]
struct Rollout {
    version: u32,
    share: Share,
    // Only when the version is on record, which workers do when they start.
    client: Arc<OnceCell<Client>>,
}

impl Shop {
    /// A shop whose orders have no row of their own before they are confirmed.
    #[must_use]
    pub fn new(sagas: Client) -> Self {
        Shop { sagas, beside: None, rollout: None }
    }

    /// The same shop, keeping rows of orders in the database of the sagas where it is asked to.
    #[must_use]
    pub fn beside(mut self, beside: Beside) -> Self {
        self.beside = Some(beside);
        self
    }

    /// The same shop, starting this share of the orders on a newer version of their saga, and the rest
    /// on the one before it.
    #[must_use]
    pub fn rollout(mut self, version: u32, share: Share) -> Self {
        self.rollout = Some(Rollout { version, share, client: Arc::default() });
        self
    }

    /// For everything but starts.
    pub(super) fn sagas(&self) -> &Client {
        &self.sagas
    }

    /// The start of an order's saga.
    pub(super) async fn start(&self, order: &Order) -> Result<Start, Problem> {
        let client = match &self.rollout {
            None => &self.sagas,
            Some(rollout) => {
                let client = rollout.client.get_or_try_init(|| self.rolled_out(rollout)).await;
                client.map_err(|error| not_now(error.to_string()))?
            }
        };
        Ok(client.start(PLACE_ORDER, order))
    }

    async fn rolled_out(&self, rollout: &Rollout) -> Result<Client, RolloutError> {
        let shares = [(PLACE_ORDER, rollout.version, rollout.share)];
        self.sagas.clone().with_rollouts(shares).await
    }

    /// Writes a row of the order and starts its saga, both or neither.
    pub(super) async fn place_together(
        &self,
        start: Start,
        key: &str,
        order: &Order,
    ) -> Result<(SagaId, bool), Problem> {
        let Some(beside) = &self.beside else {
            return Err(not_now(
                "this service keeps no rows of orders; leave `together` out".to_owned(),
            ));
        };
        let saga = start.prepare().await.map_err(|error| super::not_started(&error))?;
        match beside.place(key, order, saga).await {
            Ok(Placed::Together(id)) => Ok((id, true)),
            Ok(Placed::Before { id, same: true }) => Ok((id, false)),
            Ok(Placed::Before { id, same: false }) => Err(super::conflict(format!(
                "idempotency key \"{key}\" was used before with another order, whose saga is {id}: \
                 use a new key for a new order"
            ))),
            Ok(Placed::WithoutRow(id)) => Err(super::conflict(format!(
                "idempotency key \"{key}\" was used for saga {id}, which has no row of its order: \
                 leave `together` out, or use a new key"
            ))),
            Err(error) => Err(not_now(error.to_string())),
        }
    }
}

//! The barrier in front of a service's business, whichever of the two kinds it is.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use saga_participant::{
    Answer, Barrier, BarrierError, Business, CallIdentity, GroupedBarrier, Refusal,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Postgres;

use crate::sql::{Grouped, Sql};

/// A database whose barrier runs the calls of the services, which share transactions: [`Postgres`]
/// through sqlx, and SQLite as [`Grouped`] through rusqlite.
pub trait Guarded: Sql {
    /// Its barrier.
    type Barrier: Clone + Send + Sync + 'static;

    /// Runs the business code of an action behind the barrier.
    fn act<T, F>(
        barrier: &Self::Barrier,
        identity: &CallIdentity,
        business: F,
    ) -> impl Future<Output = Result<Answer, BarrierError>> + Send
    where
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (), T>
            + Clone
            + Send
            + 'static;

    /// Runs the business code of a compensation behind the barrier, with the output of its action.
    fn compensate<O, T, F>(
        barrier: &Self::Barrier,
        identity: &CallIdentity,
        business: F,
    ) -> impl Future<Output = Result<Answer, BarrierError>> + Send
    where
        O: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx, O) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (O,), T>
            + Clone
            + Send
            + 'static;
}

impl Guarded for Postgres {
    type Barrier = Barrier<Postgres>;

    async fn act<T, F>(
        barrier: &Barrier<Postgres>,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (), T>
            + Clone
            + Send
            + 'static,
    {
        barrier.act(identity, business).await
    }

    async fn compensate<O, T, F>(
        barrier: &Barrier<Postgres>,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx, O) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (O,), T>
            + Clone
            + Send
            + 'static,
    {
        barrier.compensate(identity, business).await
    }
}

impl Guarded for Grouped {
    type Barrier = GroupedBarrier;

    async fn act<T, F>(
        barrier: &GroupedBarrier,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (), T>
            + Clone
            + Send
            + 'static,
    {
        barrier.act(identity, move |tx| at_once(business.clone().run(tx, ()))).await
    }

    async fn compensate<O, T, F>(
        barrier: &GroupedBarrier,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut Self::Tx, O) -> Result<T, Refusal>
            + for<'c> Business<'c, Self::Tx, (O,), T>
            + Clone
            + Send
            + 'static,
    {
        let business = move |tx: &mut _, output| at_once(business.clone().run(tx, (output,)));
        barrier.compensate(identity, business).await
    }
}

/// The result of business code that never waits, as none does whose statements are rusqlite's.
fn at_once<T>(business: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match pin!(business).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Refusal::failed("the business code waits, but others wait for it")),
    }
}

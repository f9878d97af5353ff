//! Posts the orders, some of them more than once, and checks what whoever takes them promises.

use anyhow::bail;
use tokio::sync::watch;

use super::api::Answer;
use super::bounded;
use super::plan::{Order, Planned, Posting};

/// How many orders are posted at the same time.
const AT_ONCE: usize = 16;

/// Whoever takes orders: the daemons, or an order service before them.
pub(crate) trait Shop: Clone + Send + Sync + 'static {
    /// Places an order. A call without a clear answer is made again with the same key.
    ///
    /// # Errors
    /// When no call got a clear answer.
    fn place(
        &self,
        key: &str,
        order: &Order,
    ) -> impl Future<Output = anyhow::Result<Answer>> + Send;
}

/// An order that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub planned: Planned,
    pub saga_id: String,
}

/// What came of posting all orders.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    pub accepted: Vec<Accepted>,
    /// Orders that were posted more than once.
    pub repeated: usize,
    /// Answers that break a promise, in words.
    pub broken_promises: Vec<String>,
}

/// Posts every order and counts the ones that are through in `progress`.
///
/// # Errors
/// When there is no clear answer to an order, however often it is posted.
pub(crate) async fn post_all(
    shop: &impl Shop,
    plan: Vec<Planned>,
    progress: &watch::Sender<usize>,
) -> anyhow::Result<Posted> {
    let outcomes = bounded::each(plan, AT_ONCE, |planned| {
        let (shop, progress) = (shop.clone(), progress.clone());
        async move {
            let outcome = post(&shop, &planned).await?;
            progress.send_modify(|through| *through += 1);
            Ok((planned, outcome))
        }
    });
    let mut posted = Posted::default();
    for (planned, outcome) in outcomes.await? {
        posted.note(planned, outcome);
    }
    posted.find_shared_sagas();
    Ok(posted)
}

/// The saga of one order, or the promise that was broken.
pub(crate) type Outcome = Result<String, String>;

/// Posts one order as it is planned to be posted.
///
/// # Errors
/// When there is no clear answer, however often it is posted.
pub(crate) async fn post(shop: &impl Shop, planned: &Planned) -> anyhow::Result<Outcome> {
    let Planned { key, order, .. } = planned;
    Ok(match planned.posting {
        Posting::Once => order_id(&shop.place(key, order).await?),
        Posting::Twice => {
            let first = shop.place(key, order).await?;
            same(&first, &shop.place(key, order).await?)
        }
        Posting::AtOnce => {
            let calls = tokio::try_join!(shop.place(key, order), shop.place(key, order));
            let (one, other) = calls?;
            same(&one, &other)
        }
        Posting::OtherBody => {
            let first = shop.place(key, order).await?;
            let mut other = order.clone();
            other.amount_cents += 1;
            match shop.place(key, &other).await? {
                Answer::Conflict => order_id(&first),
                answer => Err(format!("the same key with another body got {answer:?}, not a 409")),
            }
        }
    })
}

fn order_id(answer: &Answer) -> Outcome {
    match answer {
        Answer::Accepted { order_id, .. } => Ok(order_id.clone()),
        Answer::Conflict => Err("a key that is used once got a 409".to_owned()),
        Answer::Refused { status, body } => Err(format!("refused with {status}: {body}")),
    }
}

/// Two equal calls must get the same order, and only one of them a new one.
fn same(one: &Answer, other: &Answer) -> Outcome {
    let (id, other_id) = (order_id(one)?, order_id(other)?);
    if id != other_id {
        return Err(format!("two equal calls started two sagas: {id} and {other_id}"));
    }
    let is_new = |answer: &Answer| matches!(answer, Answer::Accepted { is_new: true, .. });
    match is_new(one) && is_new(other) {
        true => Err(format!("two equal calls were both told that order {id} is new")),
        false => Ok(id),
    }
}

impl Posted {
    /// Fails when no order was taken, for then there is nothing to wait for.
    pub(crate) fn check_any(&self) -> anyhow::Result<()> {
        if self.accepted.is_empty() {
            bail!("no order was taken; first: {}", self.broken_promises[0]);
        }
        Ok(())
    }

    fn note(&mut self, planned: Planned, outcome: Outcome) {
        self.repeated += usize::from(planned.posting != Posting::Once);
        match outcome {
            Ok(saga_id) => self.accepted.push(Accepted { planned, saga_id }),
            Err(broken) => self.broken_promises.push(format!("{}: {broken}", planned.order.order)),
        }
    }

    fn find_shared_sagas(&mut self) {
        self.accepted.sort_by(|one, other| one.saga_id.cmp(&other.saga_id));
        for pair in self.accepted.windows(2) {
            if pair[0].saga_id == pair[1].saga_id {
                let [one, other] = [0, 1].map(|index| &pair[index].planned.order.order);
                let broken = format!("{one} and {other} got one saga: {}", pair[0].saga_id);
                self.broken_promises.push(broken);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Orders that have a row beside their saga: both are there, or neither.

use std::collections::HashMap;

use saga_core::SagaId;

use crate::soak::load::{Acknowledged, TOGETHER};
use crate::soak::sql::Reader;
use crate::soak::tally::Tally;

const ORDERS: &str = "SELECT key, saga_id FROM placed_order";

/// The rows of the orders: the saga of each key.
#[derive(Debug, Default)]
pub(super) struct Orders(HashMap<String, String>);

impl Orders {
    /// Reads the rows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn read(reader: &mut Reader) -> anyhow::Result<Self> {
        let rows: Vec<(String, String)> = reader.rows(ORDERS, &[]).await?;
        Ok(Self(rows.into_iter().collect()))
    }

    /// How many there are.
    pub(super) fn number(&self) -> u64 {
        self.0.len() as u64
    }

    /// There is no order without its saga, no saga without its order, and none that was acknowledged
    /// and is not there. `sagas` has the key of every saga that ever was.
    pub(super) fn check(
        &self,
        tally: &Tally,
        sagas: &HashMap<SagaId, Option<String>>,
        acknowledged: &[Acknowledged],
    ) {
        for (key, saga) in &self.0 {
            let of_saga = saga.parse::<SagaId>().ok().and_then(|id| sagas.get(&id));
            if of_saga.is_none_or(|of_saga| of_saga.as_ref() != Some(key)) {
                tally.violated("together", format!("order {key} is without its saga, {saga}"));
            }
        }
        let keyed = sagas.iter().filter_map(|(id, key)| Some((id, key.as_ref()?)));
        for (id, key) in keyed.filter(|(_, key)| key.starts_with(TOGETHER)) {
            if self.0.get(key) != Some(&id.to_string()) {
                tally.violated("together", format!("saga {id} is without its order, {key}"));
            }
        }
        for Acknowledged { saga, planned } in acknowledged {
            let key = &planned.key;
            if key.starts_with(TOGETHER) && self.0.get(key) != Some(saga) {
                let what = format!("order {key} was acknowledged with saga {saga}, and has no row");
                tally.violated("S13", what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan;

    const KEY: &str = "together-order-1";

    fn id(byte: u8) -> SagaId {
        SagaId::from_bytes([byte; 16])
    }

    /// What is found with these rows, sagas and an acknowledged order.
    fn found(
        rows: &[(&str, SagaId)],
        sagas: &[(SagaId, &str)],
        acknowledged: SagaId,
    ) -> Vec<(&'static str, u64)> {
        let rows = rows.iter().map(|(key, id)| ((*key).to_owned(), id.to_string()));
        let sagas = sagas.iter().map(|(id, key)| (*id, Some((*key).to_owned()))).collect();
        let mut planned = plan::orders(1, 1).remove(0);
        planned.key = KEY.to_owned();
        let acknowledged = [Acknowledged { saga: acknowledged.to_string(), planned }];
        let tally = Tally::default();
        Orders(rows.collect()).check(&tally, &sagas, &acknowledged);
        tally.counted().violations.into_iter().collect()
    }

    #[test]
    fn an_order_without_its_saga_and_a_saga_without_its_order_are_found() {
        assert_eq!(found(&[(KEY, id(1))], &[(id(1), KEY)], id(1)), []);
        assert_eq!(found(&[(KEY, id(1))], &[], id(1)), [("together", 1)]);
        assert_eq!(found(&[(KEY, id(1))], &[(id(1), "other")], id(1)), [("together", 1)]);
        assert_eq!(found(&[], &[(id(1), KEY)], id(1)), [("S13", 1), ("together", 1)]);
        // The saga of the row is another one than the saga that has its key.
        assert_eq!(found(&[(KEY, id(2))], &[(id(1), KEY)], id(2)), [("together", 2)]);
    }

    #[test]
    fn an_order_that_needs_no_row_is_none_of_its_business() {
        let sagas = [(id(1), KEY), (id(2), "order-2")];
        assert_eq!(found(&[(KEY, id(1))], &sagas, id(1)), []);
    }
}

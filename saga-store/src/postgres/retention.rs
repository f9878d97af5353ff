//! Deleting what ended long ago.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::StoreError;
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{FORGOTTEN_ROWS_MAX, micros};

impl PostgresStore {
    pub(super) async fn forget_ended(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        if self.distributed {
            return self.forget_by_bucket(age, limit).await;
        }
        let forgotten = self.retention.run(Forget { age, limit }).await?;
        Ok(u32::try_from(forgotten).unwrap_or(limit))
    }
}

struct Forget {
    age: Duration,
    limit: u32,
}

#[async_trait]
impl Work for Forget {
    type Outcome = i64;

    fn what(&self) -> String {
        "forgetting ended sagas".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<i64, Error> {
        sqlx::query_scalar(include_str!("forget.sql"))
            .bind(micros(self.age))
            .bind(i64::from(self.limit))
            .bind(FORGOTTEN_ROWS_MAX)
            .fetch_one(db)
            .await
    }
}

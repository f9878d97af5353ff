//! The PostgreSQL store on a real server.

#![cfg(feature = "postgres")]

use std::sync::Arc;

use async_trait::async_trait;
use saga_core::Store;
use saga_core::store::conformance::Harness;
use saga_store::{PostgresOptions, PostgresStore};

/// A fresh database; each handle on it has connections of its own.
struct Fresh(String);

#[async_trait]
impl Harness for Fresh {
    async fn open(&self) -> Arc<dyn Store> {
        let options = PostgresOptions::from_url(&self.0).expect("the fixture's URL");
        Arc::new(PostgresStore::open(options).await.expect("a fresh database opens"))
    }
}

fn fresh() -> Fresh {
    Fresh(throwaway_postgres::fresh_database().unwrap_or_else(|error| panic!("{error}")))
}

/// The name tells `cargo xtask test` which tests need a server.
mod postgres {
    use super::fresh;

    saga_core::store_conformance!(fresh());
}

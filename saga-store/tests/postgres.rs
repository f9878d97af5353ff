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

/// The same with every statement of the hot path kept within one bucket, as tables spread over
/// machines need it.
struct Spread(Fresh);

#[async_trait]
impl Harness for Spread {
    async fn open(&self) -> Arc<dyn Store> {
        let options = PostgresOptions::from_url(&self.0.0).expect("the fixture's URL");
        let store = PostgresStore::open(options.distributed(true)).await;
        Arc::new(store.expect("a fresh database opens"))
    }
}

/// The name tells `cargo xtask test` which tests need a server.
mod postgres {
    use super::fresh;

    saga_core::store_conformance!(fresh());

    mod distributed {
        use super::super::{Spread, fresh};

        saga_core::store_conformance!(Spread(fresh()));
    }
}

#[test]
fn a_url_says_whether_the_tables_are_distributed() {
    let says = |parameters: &str| {
        let url = format!("postgres://saga@127.0.0.1/saga{parameters}");
        PostgresOptions::from_url(&url).map(|options| format!("{options:?}"))
    };
    let on = says("?sslmode=disable&distributed=true&application_name=x").expect("a good URL");
    assert!(on.contains("distributed: true") && on.contains("ssl_mode: Disable"), "{on}");
    for off in ["", "?distributed=false", "?sslmode=disable"] {
        let off = says(off).expect("a good URL");
        assert!(off.contains("distributed: false"), "{off}");
    }
    let error = says("?distributed=yes").expect_err("neither true nor false").to_string();
    assert!(error.contains("distributed=yes") && error.contains("true or false"), "{error}");
}

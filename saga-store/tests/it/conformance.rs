//! SQLite through the suite that every store passes.

use std::sync::Arc;

use async_trait::async_trait;
use saga_core::Store;
use saga_core::store::conformance::Harness;
use saga_store::SqliteStore;
use tempfile::TempDir;

/// Each handle opens the file anew, with a writer and readers of its own, as a process would.
struct Sqlite(TempDir);

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let store = SqliteStore::open(self.0.path().join("saga.db")).await;
        Arc::new(store.expect("a database in a fresh folder"))
    }
}

fn sqlite() -> Sqlite {
    Sqlite(TempDir::new().expect("a temporary folder"))
}

saga_core::store_conformance!(sqlite());

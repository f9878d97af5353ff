//! Where the services of a test have their databases, and tests that run on either kind.

use saga_examples::database::{Address, Database};
use saga_examples::sql::Home;
use sqlx::{Pool, Postgres, Sqlite};
use tempfile::TempDir;

/// A new, empty database, which lasts as long as this value.
pub(crate) struct Place {
    pub(crate) address: Address,
    _folder: Option<TempDir>,
}

impl Place {
    /// A database of which the test takes care itself.
    pub(crate) fn given(address: Address) -> Place {
        Place { address, _folder: None }
    }
}

/// A kind of database that services are tested on.
pub(crate) trait Kind: Home {
    fn new_place() -> Place;

    /// The pool in a database of this kind.
    fn pool(database: Database) -> Pool<Self>;
}

impl Kind for Sqlite {
    fn new_place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        Place { address: Address::Sqlite(folder.path().join("service.db")), _folder: Some(folder) }
    }

    fn pool(database: Database) -> Pool<Sqlite> {
        let Database::Sqlite(pool) = database else { panic!("this is a place for SQLite") };
        pool
    }
}

impl Kind for Postgres {
    fn new_place() -> Place {
        let url = throwaway_postgres::fresh_database().unwrap();
        Place::given(url.parse().unwrap())
    }

    fn pool(database: Database) -> Pool<Postgres> {
        let Database::Postgres(pool) = database else { panic!("this is a place for PostgreSQL") };
        pool
    }
}

/// Makes tests of functions that take the kind of database as their type.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<sqlx::Sqlite>().await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<sqlx::Postgres>().await;
            })+
        }
    };
}
pub(crate) use on_each_database;

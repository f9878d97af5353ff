//! Bringing the schema of the store up to date, or telling what that would do.

use std::process::ExitCode;

use saga_core::store::StoreError;
use saga_store::PendingMigration;
use serde_json::json;

use super::arguments::Migrate;
use super::{Code, Stop, serve};
use crate::config::mask;

pub(super) async fn migrate(asked: &Migrate) -> Result<ExitCode, Stop> {
    let config = asked.settings.gather()?.read()?;
    let store = mask(&config.store);
    if asked.check {
        let pending = saga_store::pending_migrations(&config.store).await.map_err(unusable)?;
        show(&pending, asked, &store, "lacks");
        return Ok(if pending.is_empty() { ExitCode::SUCCESS } else { Code::Failed.into() });
    }
    if config.store_is_default {
        serve::make_folder(&config.store)?;
    }
    let run = saga_store::migrate(&config.store).await.map_err(unusable)?;
    show(&run, asked, &store, "now has");
    Ok(ExitCode::SUCCESS)
}

fn show(migrations: &[PendingMigration], asked: &Migrate, store: &str, has: &str) {
    if asked.json {
        let each = |one: &PendingMigration| match asked.sql {
            true => json!({ "version": one.version, "name": one.name, "sql": one.sql }),
            false => json!({ "version": one.version, "name": one.name }),
        };
        println!("{:#}", json!(migrations.iter().map(each).collect::<Vec<_>>()));
        return;
    }
    if migrations.is_empty() {
        println!("{store} is up to date");
        return;
    }
    println!("{store} {has}:");
    for one in migrations {
        println!("  {:04}_{}", one.version, one.name);
        if asked.sql {
            println!("\n{}", one.sql);
        }
    }
}

pub(super) fn unusable(error: StoreError) -> Stop {
    match error {
        StoreError::Unavailable(_) => Stop::unavailable(error),
        StoreError::Corrupt(_) | StoreError::Unusable(_) => Stop::misconfigured(error),
    }
}

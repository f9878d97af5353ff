//! Making API keys.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::Stop;
use crate::access::{ApiKey, Role};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a key: its text goes to standard output, once; what to put into the keys file to
    /// standard error.
    New {
        /// Its name in the log of commands: lower-case letters, digits and hyphens.
        id: String,
        /// What its holder may do.
        #[arg(long, value_enum)]
        role: Role,
        /// All of it as one JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn act(action: &Action) -> Result<ExitCode, Stop> {
    let Action::New { id, role, json } = action;
    let (key, text) = ApiKey::create(id, *role).map_err(Stop::failed)?;
    if *json {
        let all = json!({ "key": text, "id": key.id, "role": key.role, "sha256": key.sha256 });
        println!("{all:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{text}");
    eprintln!(
        "# Hand the line above to the holder; it is kept nowhere. Add this to the keys file:\n\
         [[keys]]\nid = \"{}\"\nrole = \"{}\"\nsha256 = \"{}\"",
        key.id, key.role, key.sha256
    );
    Ok(ExitCode::SUCCESS)
}

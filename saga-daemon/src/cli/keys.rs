//! Making API keys.

use std::process::ExitCode;

use clap::Subcommand;

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
    },
}

pub(super) fn act(action: &Action) -> Result<ExitCode, Stop> {
    let Action::New { id, role } = action;
    let (key, text) = ApiKey::create(id, *role).map_err(Stop::failed)?;
    println!("{text}");
    eprintln!(
        "# Hand the line above to the holder; it is kept nowhere. Add this to the keys file:\n\
         [[keys]]\nid = \"{}\"\nrole = \"{}\"\nsha256 = \"{}\"",
        key.id, key.role, key.sha256
    );
    Ok(ExitCode::SUCCESS)
}

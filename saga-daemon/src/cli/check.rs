//! Checking definitions without running them.

use std::path::Path;
use std::process::ExitCode;

use super::{Code, Stop, show};
use crate::declared::{self, Options};
use crate::outbound::{AllowHosts, AllowedHost};

pub(super) fn check(
    folder: &Path,
    allow_hosts: Vec<AllowedHost>,
    json: bool,
) -> Result<ExitCode, Stop> {
    let options =
        Options { allow_hosts: AllowHosts::default().and(allow_hosts), ..Options::default() };
    match declared::load(folder, &options) {
        Ok(declared) => {
            print!("{}", if json { "[]\n".to_owned() } else { show::declared(&declared) });
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) if json => {
            println!("{}", serde_json::to_string_pretty(&faults).map_err(Stop::failed)?);
            Ok(Code::Failed.into())
        }
        Err(faults) => Err(Stop::failed(format!("the definitions are refused\n{faults}"))),
    }
}

//! Removing a folder whose process is gone without having done it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

/// Waits for the end of its input, which comes with the end of the process that holds the other end,
/// then for the server's keeper, which removes the folder of a server that ran; and removes what is
/// left: the folder of a cluster that was being made, or whose server was stopped or crashed.
const SWEEPER: &str = r#"
folder="$1"
read -r dismissed && exit
tries=0
while [ -e "$folder/server.pid" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
until rm -rf "$folder" || [ "$tries" -ge 200 ]; do sleep 0.1; tries=$((tries + 1)); done
"#;

/// A process that outlives this one, to remove a folder when this one ends without having
/// dismissed it, were it by SIGKILL.
#[derive(Debug)]
pub struct Sweeper(Child);

impl Sweeper {
    /// Starts watching over a folder.
    ///
    /// # Errors
    /// When there is no `sh`.
    pub fn start(folder: &Path) -> Result<Self, Error> {
        let mut sweeper = Command::new("sh");
        sweeper.args(["-c", SWEEPER, "sweeper"]).arg(folder).current_dir("/");
        sweeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // std has no way to start a session; a group of its own keeps Ctrl-C away.
        std::os::unix::process::CommandExt::process_group(&mut sweeper, 0);
        sweeper.spawn().map(Self).map_err(|error| Error::failed("sh", error))
    }

    /// Sends it away: the folder is taken care of.
    pub fn dismiss(&mut self) {
        use std::io::Write as _;
        if let Some(mut input) = self.0.stdin.take() {
            // One that is gone needs no word.
            let _ = input.write_all(b"dismissed\n");
        }
        let _ = self.0.wait();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.dismiss();
    }
}

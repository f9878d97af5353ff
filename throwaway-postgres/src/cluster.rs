//! One cluster: made, run, crashed, started again, and cleared away.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::sweeper::Sweeper;
use crate::{Error, binaries};

/// How long a server may take until it is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// How many free ports are tried: between finding one and using it, another process may take it.
const PORTS_MAX: usize = 8;

/// The user that clusters run as where the process is root, which PostgreSQL refuses: nobody.
const UNPRIVILEGED: u32 = 65_534;

/// What a server says that finds something of its crashed predecessor still in use.
const HELD_BY_THE_DEAD: [&str; 1] = ["pre-existing shared memory block"];

/// What the keeper runs: the server, until it is told how to end it, or until its own input ends
/// because nobody holds the other end any more; then the folder goes as well. `$1` is the folder,
/// the rest is the server's command line.
const KEEPER: &str = r#"
folder="$1"; shift
"$@" </dev/null >>"$folder/server.log" 2>&1 &
server=$!
echo "$server" >"$folder/server.pid"
if read -r how; then
    case "$how" in
        crash) kill -KILL "$server" ;;
        quit) kill -QUIT "$server" ;;
        *) kill -INT "$server" ;;
    esac
    wait "$server"
else
    kill -INT "$server"
    wait "$server"
    cd / && rm -rf "$folder"
fi
"#;

/// Server settings of a cluster, beyond the defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `name = value` pairs, such as `("shared_buffers", "512MB")`.
    pub server: Vec<(String, String)>,
}

/// A running cluster. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder, so that nobody sweeps what is being removed.
    sweeper: Sweeper,
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
    settings: Settings,
    keeper: Option<Child>,
}

impl Cluster {
    /// Makes a cluster and starts it on a free loopback port.
    ///
    /// # Errors
    /// [`Error`] saying what to install, or what a program said.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let binaries = binaries::folder()?;
        let folder = tempfile::Builder::new().prefix("throwaway-postgres-").tempdir();
        let folder = folder.map_err(|error| Error::failed("making a temporary folder", error))?;
        if is_root(folder.path()) {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED))
                .map_err(|error| Error::failed("chown", error))?;
        }
        let sweeper = Sweeper::start(folder.path())?;
        let (port, settings) = (free_port()?, settings.clone());
        let mut cluster = Self { sweeper, folder, binaries, port, settings, keeper: None };
        let data = cluster.data();
        let mut initdb = cluster.command("initdb");
        initdb.args([
            "--username=saga",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        run(initdb.arg("--pgdata").arg(&data))?;
        cluster.start_on_a_free_port()?;
        Ok(cluster)
    }

    /// Ends the server and leaves its folder behind, for a person to look into; returns the folder.
    /// `postgres -D FOLDER/data -p PORT` runs it again.
    ///
    /// # Errors
    /// When the keeper cannot be waited for.
    pub fn keep(mut self) -> Result<PathBuf, Error> {
        self.end("stop\n")?;
        self.sweeper.dismiss();
        self.folder.disable_cleanup(true);
        Ok(self.folder.path().to_owned())
    }

    /// The folder with everything of this cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://saga@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates a database and returns its URL.
    ///
    /// # Errors
    /// What `createdb` said.
    pub fn create_database(&self, name: &str) -> Result<String, Error> {
        let maintenance = format!("--maintenance-db={}", self.url("postgres"));
        run(self.command("createdb").arg(maintenance).arg(name))?;
        Ok(self.url(name))
    }

    /// Kills the server at once, as a crash of its machine's processes would.
    ///
    /// # Errors
    /// When the keeper cannot be waited for.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.end("crash\n")
    }

    /// Stops the server in its `immediate` way: it goes without a checkpoint and recovers at its
    /// next start.
    ///
    /// # Errors
    /// When the keeper cannot be waited for.
    pub fn quit(&mut self) -> Result<(), Error> {
        self.end("quit\n")
    }

    /// Stops the server in its `fast` way: connections are cut.
    ///
    /// # Errors
    /// When the keeper cannot be waited for.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.end("stop\n")
    }

    /// Starts the server again on the same port, after its end.
    ///
    /// # Errors
    /// What the server wrote to its log, when it does not answer.
    pub fn restart(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let outcome = self.start_once();
            let is_held = |why: &str| HELD_BY_THE_DEAD.iter().any(|held| why.contains(held));
            match &outcome {
                // A crashed server's own processes notice its death a moment later, and until then
                // they hold its shared memory.
                Err(Error::Failed { why, .. }) if is_held(why) && since.elapsed() < START_MAX => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => return outcome,
            }
        }
    }

    fn start_once(&mut self) -> Result<(), Error> {
        self.end("stop\n")?;
        // A killed server that nobody has reaped yet would hold the file against its successor.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        let _ = fs::remove_file(self.pid_file());
        // What earlier starts said is no reason of this one.
        let said = self.log().len();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(self.folder.path());
        keeper.arg(self.binaries.join("postgres")).arg("-D").arg(self.data());
        for (name, value) in self.server_settings() {
            keeper.arg("-c").arg(format!("{name}={value}"));
        }
        // A group of its own: Ctrl-C in a terminal is for the process that started it.
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.unprivileged(&mut keeper);
        let keeper = keeper.spawn().map_err(|error| Error::failed("sh", error))?;
        self.keeper = Some(keeper);
        self.wait_until_it_is_ready(said)
    }

    fn start_on_a_free_port(&mut self) -> Result<(), Error> {
        for _ in 1..PORTS_MAX {
            match self.restart() {
                Err(Error::Failed { why, .. }) if why.contains("could not bind") => {
                    self.port = free_port()?;
                }
                outcome => return outcome,
            }
        }
        self.restart()
    }

    fn server_settings(&self) -> Vec<(String, String)> {
        let own = [
            ("port", self.port.to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            // None: the path of one below a folder for temporary files may be too long.
            ("unix_socket_directories", String::new()),
            ("max_connections", "200".to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        own.chain(self.settings.server.iter().cloned()).collect()
    }

    /// Waits for the server's own word in its lock file. Asking the port would not do: another
    /// cluster may have taken it.
    fn wait_until_it_is_ready(&self, said: usize) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let lock = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            if lock.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
            if self.server_has_ended() || since.elapsed() > START_MAX {
                let log = self.log();
                return Err(Error::failed("postgres", log.get(said..).unwrap_or_default().trim()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the server came to its end by itself; where there is no `/proc`, nobody knows.
    pub fn server_has_ended(&self) -> bool {
        let pid = fs::read_to_string(self.pid_file()).unwrap_or_default();
        if pid.trim().is_empty() || !Path::new("/proc/self/stat").exists() {
            return false;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Its keeper waits for it only when it is told to, until then an ended server is a zombie.
        stat.is_empty() || stat.contains(") Z ")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("server.pid")
    }

    fn end(&mut self, how: &str) -> Result<(), Error> {
        use std::io::Write as _;
        let Some(mut keeper) = self.keeper.take() else { return Ok(()) };
        if let Some(mut input) = keeper.stdin.take() {
            // A keeper that is gone has ended the server already.
            let _ = input.write_all(how.as_bytes());
        }
        keeper.wait().map(drop).map_err(|error| Error::failed("the keeper", error))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        self.unprivileged(&mut command);
        command
    }

    fn unprivileged(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        if fs::metadata(self.folder.path()).is_ok_and(|folder| folder.uid() == UNPRIVILEGED) {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The folder is removed by its own drop, once nobody writes into it any more.
        let _ = self.end("stop\n");
    }
}

/// Creates a database on a server that was given by its URL.
pub(crate) fn create_database_at(url: &str, name: &str) -> Result<String, Error> {
    let createdb = binaries::folder().map(|folder| folder.join("createdb"));
    let createdb = createdb.unwrap_or_else(|_| PathBuf::from("createdb"));
    run(Command::new(createdb).arg(format!("--maintenance-db={url}")).arg(name))?;
    let (server, _) = url.rsplit_once('/').unwrap_or((url, ""));
    let query = url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    Ok(format!("{server}/{name}{query}"))
}

fn is_root(own_folder: &Path) -> bool {
    fs::metadata(own_folder).is_ok_and(|folder| folder.uid() == 0)
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| Error::failed("finding a free port", error))
}

fn run(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stdout, stderr, .. }) => {
            let said = [stdout, stderr].concat();
            Err(Error::failed(&program, String::from_utf8_lossy(&said).trim()))
        }
        Err(error) => Err(Error::failed(&program, error)),
    }
}

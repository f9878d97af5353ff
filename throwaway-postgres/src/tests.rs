//! A cluster works, and is gone with its process, however that ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Set to the way in which [`holder`] ends.
const END: &str = "THROWAWAY_POSTGRES_TEST_END";

fn answers(url: &str) -> bool {
    let psql = Command::new("psql").args([url, "-Atc", "SELECT 1"]).output();
    psql.is_ok_and(|output| output.stdout.starts_with(b"1"))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_caller_gets_an_empty_database_of_its_own() {
    let (first, second) = (fresh_database().unwrap(), fresh_database().unwrap());
    assert_ne!(first, second);
    assert!(answers(&first) && answers(&second));
}

#[test]
fn a_cluster_can_be_crashed_and_started_again_and_leaves_nothing_behind() {
    let mut cluster = Cluster::start(&Settings::default()).unwrap();
    let (folder, url) = (cluster.folder().to_owned(), cluster.create_database("kept").unwrap());
    cluster.crash().unwrap();
    assert!(!answers(&url));
    cluster.restart().unwrap();
    assert!(answers(&url));
    cluster.quit().unwrap();
    assert!(!answers(&url));
    cluster.restart().unwrap();
    assert!(answers(&url));
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn a_cluster_that_is_kept_leaves_its_folder_and_no_server() {
    let cluster = Cluster::start(&Settings::default()).unwrap();
    let url = cluster.url("postgres");
    let folder = cluster.keep().unwrap();
    assert!(folder.join("data/PG_VERSION").exists() && !answers(&url));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_server_that_cannot_start_says_why_at_once() {
    let since = Instant::now();
    let nonsense = ("shared_buffers".to_owned(), "plenty".to_owned());
    let error = Cluster::start(&Settings { server: vec![nonsense] }).unwrap_err().to_string();
    assert!(error.contains("shared_buffers"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(25), "the log was there all the time");
}

/// Not a test of its own: the others run it in a process that they watch ending.
#[test]
#[ignore = "run by the tests of how a process may end"]
fn holder() {
    let mut cluster = Cluster::start(&Settings::default()).unwrap();
    if std::env::var(END).as_deref() == Ok("crashed") {
        cluster.crash().unwrap();
    }
    println!("holding {} {}", cluster.port(), cluster.folder().display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    panic!("told to panic while a cluster is running");
}

/// A process that holds a cluster.
struct Holder {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Holder {
    fn start(end: &str) -> Self {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "postgres::holder", "--ignored", "--nocapture"]).env(END, end);
        let mut process = test
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let held = lines.find_map(|line| Some(line.unwrap().split_once("holding ")?.1.to_owned()));
        // The rest of what it says goes nowhere, but somebody has to read it.
        std::thread::spawn(move || lines.for_each(drop));
        let (port, folder) = held.as_deref().and_then(|held| held.split_once(' ')).unwrap();
        Self { process, port: port.parse().unwrap(), folder: folder.into() }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn until_nothing_is_left(&self) {
        until("the end of the server", || TcpStream::connect(("127.0.0.1", self.port)).is_err());
        until("the end of the folder", || !self.folder.exists());
    }
}

#[test]
fn a_test_that_panics_leaves_neither_server_nor_folder() {
    let mut holder = Holder::start("panics");
    drop(holder.process.stdin.take());
    assert!(!holder.process.wait().unwrap().success());
    holder.until_nothing_is_left();
}

#[test]
fn processes_that_are_killed_side_by_side_leave_neither_servers_nor_folders() {
    let mut holders: Vec<_> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| Holder::start("killed"))).collect();
        starting.into_iter().map(|starting| starting.join().unwrap()).collect()
    });
    holders.iter_mut().for_each(Holder::kill);
    holders.iter().for_each(Holder::until_nothing_is_left);
}

#[test]
fn a_process_that_is_killed_after_its_server_crashed_leaves_no_folder() {
    let mut holder = Holder::start("crashed");
    holder.kill();
    holder.until_nothing_is_left();
}

#[test]
fn a_process_that_is_killed_while_it_makes_a_cluster_leaves_no_folder() {
    let temporary = tempfile::tempdir().unwrap();
    // The cluster's own user has to get through to its folder.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(temporary.path(), open).unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::holder", "--ignored"])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("a data folder", || {
        entries(temporary.path()).iter().any(|one| one.join("data").exists())
    });
    process.kill().unwrap();
    process.wait().unwrap();
    until("an empty folder", || entries(temporary.path()).is_empty());
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_server_that_crashed_at_work_is_started_again_although_its_processes_still_die() {
    let mut cluster = Cluster::start(&Settings::default()).unwrap();
    let url = cluster.create_database("kept").unwrap();
    // A process that computes looks up only at its end, and holds the shared memory until then.
    let work = "SELECT count(*) FROM generate_series(1, 20000000)";
    let mut psql = Command::new("psql");
    psql.args([url.as_str(), "-Atc", work]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut worker = psql.spawn().unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                   AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()";
    until("the query", || {
        let asked = Command::new("psql").args([url.as_str(), "-Atc", running]).output();
        asked.is_ok_and(|answer| answer.stdout.starts_with(b"1"))
    });
    cluster.crash().unwrap();
    cluster.restart().unwrap();
    assert!(answers(&url));
    worker.kill().ok();
    worker.wait().unwrap();
}

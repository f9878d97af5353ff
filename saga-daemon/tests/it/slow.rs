//! Many clients that send next to nothing, and keep their connections for it (T14).

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::{BINARY, Served, folder, program};
use crate::support::PATIENCE;

/// The slow clients.
const SLOW: usize = 1_000;
/// What 99 of a hundred requests of others may take meanwhile.
const P99: Duration = Duration::from_millis(100);

/// Connections that have begun a request and do not end it.
fn begin(url: &str, count: usize, begun: &[u8]) -> Vec<TcpStream> {
    let address = url.trim_start_matches("http://");
    let connect = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(begun).unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

/// How long 99 of a hundred requests take.
fn p99(served: &Served) -> Duration {
    let ask = |_| {
        let begun = Instant::now();
        assert!(served.http("/v1/sagas").starts_with("HTTP/1.1 200"));
        begun.elapsed()
    };
    let mut took: Vec<Duration> = (0..100).map(ask).collect();
    took.sort();
    took[98]
}

#[test]
fn a_thousand_slow_clients_do_not_slow_down_the_others() {
    rlimit::increase_nofile_limit(4_096).unwrap();
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-";
    let body = b"POST /v1/sagas/brew-tea HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let mut slow = begin(&served.url, SLOW / 2, head);
    slow.extend(begin(&served.url, SLOW / 2, body));
    let deadline = Instant::now() + PATIENCE;
    // A machine that is busy with something else may need a second try.
    loop {
        for stream in &mut slow {
            // Some have been cut off by now.
            let _ = stream.write_all(b" ");
        }
        let took = p99(&served);
        if took < P99 {
            break;
        }
        assert!(Instant::now() < deadline, "99 of a hundred requests took up to {took:?}");
    }
}

/// A daemon in a shell that has set its limits of open files first.
fn limited(folder: &Path, limits: &str) -> Served {
    let mut command = program(Path::new("sh"));
    let script = format!("{limits} && exec \"$0\" serve --listen 127.0.0.1:0");
    command.args(["-c", &script, BINARY]).env("STATE_DIRECTORY", folder.join("data"));
    Served::spawn(command, folder)
}

#[cfg(unix)]
#[test]
fn a_soft_limit_of_open_files_does_not_bound_the_connections() {
    let folder = folder();
    let served = limited(folder.path(), "ulimit -Sn 100");
    let slow = begin(&served.url, 200, b"GET /healthz HTTP/1.1\r\n");
    assert!(served.ready(), "{}", served.log());
    drop(slow);
}

#[cfg(unix)]
#[test]
fn connections_never_take_the_files_that_store_and_participants_need() {
    let folder = folder();
    let served = limited(folder.path(), "ulimit -n 100");
    assert!(served.log().contains("raise LimitNOFILE"), "{}", served.log());
    let slow = begin(&served.url, 100, b"GET /healthz HTTP/1.1\r\n");
    drop(slow);
    // Those that found a place have given it back by the time that this one is answered.
    assert!(served.ready(), "{}", served.log());
    assert!(!served.log().contains("Too many open files"), "{}", served.log());
}

//! Many who subscribe to the feed of one daemon: memory for each, and how soon each hears.

mod serve;

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::database::Database;
use crate::load::StoreKind;
use crate::process::{memory_kib, raise_limit};
use crate::workload::{ORDER, Order};

pub(crate) use serve::{Served, serve};

/// Connections that are opened at the same time.
const OPENING: usize = 64;
/// Files beside the connections.
const FILES: u64 = 256;
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// Subscribers to the feed of one daemon.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,

    /// Subscribers with a connection each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    subscribers: u32,

    /// Further ones that subscribe to everything and read nothing
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=2_000))]
    slow: u32,

    /// What the others subscribe to
    #[arg(long, default_value = "verdicts=true")]
    filter: String,

    /// Sagas started per second
    #[arg(long, default_value_t = 2.0)]
    rate: f64,

    /// How long sagas are started
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    bench: &'static str,
    store: StoreKind,
    subscribers: u32,
    slow: u32,
    /// Memory of the daemon for each subscriber, in KiB.
    kib_per_subscriber: f64,
    /// Memory of the daemon with all of them, in MiB.
    daemon_mib: f64,
    opened_per_s: f64,
    sagas: u64,
    received: usize,
    missing: usize,
    /// From the decision of a transition, before its commit, to its receipt.
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// CPU of the daemon while sagas ran, in cores.
    daemon_cores: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    raise_limit(u64::from(options.subscribers + options.slow) + FILES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(options))?;
    runtime.shutdown_background();
    print(options, &figures)
}

async fn measure(options: &Options) -> anyhow::Result<Figures> {
    let database = Database::fresh(options.store)?;
    let (mut daemon, address) = start_daemon(options, database.url()).await?;
    let pid = daemon.id().context("the daemon ended at once")?;
    sleep(SETTLE).await;
    let before = memory_kib(pid)?;
    let (stop, stopped) = watch::channel(false);
    let begun = Instant::now();
    let mut readers = subscribe(options, &address, &stopped).await?;
    let opening = begun.elapsed();
    sleep(SETTLE).await;
    let after = memory_kib(pid)?;

    let path = "/v1/events".to_owned();
    let mut slow = Vec::new();
    for _ in 0..options.slow {
        slow.push(open(&address, &path).await?);
    }
    let cpu = cpu_ticks(pid)?;
    let running = Instant::now();
    let sagas = start_sagas(options, &address).await?;
    let daemon_cores = (cpu_ticks(pid)? - cpu) / 100.0 / running.elapsed().as_secs_f64();
    // What is under way arrives.
    sleep(Duration::from_secs(5)).await;
    stop.send_replace(true);
    let mut latencies: Vec<i64> = Vec::new();
    while let Some(reader) = readers.join_next().await {
        latencies.extend(reader??);
    }
    latencies.sort_unstable();
    daemon.kill().await?;
    drop(slow);
    let wanted = sagas as usize * options.subscribers as usize;
    let at = |part: f64| {
        let nth = (latencies.len() as f64 * part) as usize;
        latencies
            .get(nth.min(latencies.len().saturating_sub(1)))
            .map_or(f64::NAN, |us| *us as f64 / 1e3)
    };
    Ok(Figures {
        bench: "subscribers",
        store: options.store,
        subscribers: options.subscribers,
        slow: options.slow,
        kib_per_subscriber: (after as f64 - before as f64) / f64::from(options.subscribers),
        daemon_mib: after as f64 / 1024.0,
        opened_per_s: f64::from(options.subscribers) / opening.as_secs_f64(),
        sagas,
        received: latencies.len(),
        missing: match options.filter.as_str() {
            "verdicts=true" => wanted.saturating_sub(latencies.len()),
            _ => 0,
        },
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
        daemon_cores,
    })
}

/// A daemon in a process of its own, so that its memory is its own.
async fn start_daemon(options: &Options, url: Option<String>) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("subscribers-daemon");
    command.args(["--subscribers", &(options.subscribers + options.slow).to_string()]);
    if let Some(url) = url {
        command.args(["--url", &url]);
    }
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut daemon = command.spawn()?;
    let mut lines = BufReader::new(daemon.stdout.take().context("its output")?).lines();
    let line = timeout(Duration::from_secs(60), lines.next_line()).await??;
    let address = line.context("the daemon ended before it listened")?;
    Ok((daemon, address))
}

async fn subscribe(
    options: &Options,
    address: &str,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<JoinSet<anyhow::Result<Vec<i64>>>> {
    let (mut readers, mut opening) = (JoinSet::new(), JoinSet::new());
    for _ in 0..options.subscribers {
        while opening.len() >= OPENING {
            let socket = opening.join_next().await.context("one is opening")??;
            readers.spawn(read(socket?, stopped.clone()));
        }
        let (address, path) = (address.to_owned(), format!("/v1/events?{}", options.filter));
        opening.spawn(async move { open(&address, &path).await });
    }
    while let Some(socket) = opening.join_next().await {
        readers.spawn(read(socket??, stopped.clone()));
    }
    Ok(readers)
}

/// A connection that has been let in: it has been sent the first event.
async fn open(address: &str, path: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    let mut first = Vec::new();
    while !first.windows(5).any(|part| part == b"ready") {
        let read = timeout(Duration::from_secs(60), socket.read_buf(&mut first)).await??;
        ensure!(read > 0, "refused: {}", String::from_utf8_lossy(&first));
    }
    ensure!(first.starts_with(b"HTTP/1.1 200"), "refused: {}", String::from_utf8_lossy(&first));
    Ok(socket)
}

/// For each transition, how many microseconds after its decision it was received.
async fn read(
    mut socket: TcpStream,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<Vec<i64>> {
    let (mut latencies, mut unread) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            read = socket.read_buf(&mut unread) => ensure!(read? > 0, "the daemon hung up"),
            _ = stopped.changed() => return Ok(latencies),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
        let mut used = 0;
        while let Some(end) = unread[used..].windows(2).position(|pair| pair == b"\n\n") {
            latencies.extend(decided_at(&unread[used..used + end]).map(|at| now - at));
            used += end + 2;
        }
        unread.drain(..used);
        if unread.is_empty() {
            unread.shrink_to(0);
        }
    }
}

/// When the transition of a block was decided.
fn decided_at(block: &[u8]) -> Option<i64> {
    let name = b"\"at\":";
    let begin = block.windows(name.len()).position(|part| part == name)? + name.len();
    let digits = block[begin..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// Starts sagas at an even rate, over one connection.
async fn start_sagas(options: &Options, address: &str) -> anyhow::Result<u64> {
    let mut socket = BufReader::new(TcpStream::connect(address).await?);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut beat = interval(Duration::from_secs_f64(1.0 / options.rate));
    let mut sagas = 0;
    while Instant::now() < until {
        beat.tick().await;
        let body = serde_json::to_string(&Order::new(sagas))?;
        let request = format!(
            "POST /v1/sagas/{ORDER} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await?;
        take_answer(&mut socket).await?;
        sagas += 1;
    }
    Ok(sagas)
}

async fn take_answer(socket: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let (mut line, mut length, mut status) = (String::new(), 0, String::new());
    loop {
        line.clear();
        ensure!(socket.read_line(&mut line).await? > 0, "the daemon hung up");
        let text = line.trim();
        if status.is_empty() {
            status = text.to_owned();
        } else if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    if !status.contains(" 201 ") {
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

/// Hundredths of a second of CPU.
fn cpu_ticks(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(')').next().context("no stat")?;
    let fields: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(fields.iter().sum())
}

fn print(options: &Options, figures: &Figures) -> anyhow::Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    let Figures { subscribers, slow, kib_per_subscriber, daemon_mib, opened_per_s, .. } = figures;
    let Figures { sagas, received, missing, p50_ms, p99_ms, max_ms, daemon_cores, .. } = figures;
    println!("{subscribers} subscribers and {slow} that read nothing, on {}", options.store.name());
    println!("memory   {kib_per_subscriber:.1} KiB each, {daemon_mib:.0} MiB for the daemon");
    println!("opened   {opened_per_s:.0} per second");
    println!("received {received} of {sagas} sagas, {missing} missing");
    println!("latency  p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms");
    println!("CPU      {daemon_cores:.2} cores of the daemon");
    Ok(())
}

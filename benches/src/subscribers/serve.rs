//! The daemon of the bench, in a process of its own.

use std::sync::Arc;

use clap::Args;
use saga_core::{MemoryStore, Store};
use saga_daemon::{Daemon, Limits};
use saga_worker::SystemClock;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::FILES;
use crate::process::raise_limit;
use crate::workload;

/// What the bench tells its daemon.
#[derive(Clone, Debug, Args)]
pub(crate) struct Served {
    /// The store; without it, in memory
    #[arg(long)]
    url: Option<String>,

    /// How many may subscribe
    #[arg(long)]
    subscribers: usize,
}

/// Tells its address, and serves until its input ends.
pub(crate) fn serve(options: &Served) -> anyhow::Result<()> {
    raise_limit(options.subscribers as u64 + FILES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store: Arc<dyn Store> = match &options.url {
            Some(url) => saga_store::connect(url).await?,
            None => Arc::new(MemoryStore::new(Arc::new(SystemClock))),
        };
        let limits = Limits {
            connections_max: options.subscribers + 64,
            streams_max: options.subscribers,
            ..Limits::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let ended = shutdown.clone();
        tokio::spawn(async move {
            // The bench is gone.
            drop(tokio::io::stdin().read(&mut [0]).await);
            ended.cancel();
        });
        let daemon = Daemon::builder(store).register(workload::definition(false)?).limits(limits);
        daemon.serve(listener, shutdown).await?;
        Ok(())
    })
}

//! Restate, with its Rust SDK: a handler of three durable runs that compensates as its guide to sagas
//! has it, called through the ingress.
//!
//! Differs from ours: a run is at least once and is retried until it ends, says that it is terminal or
//! has been tried often enough; the handler's own code compensates, and has to note a compensation
//! before its action, or an action of unknown outcome is not compensated.

use std::time::Duration;

use clap::Parser;
use restate_sdk::prelude::*;
use saga_peers::{Flags, input, measure};
use tokio::net::TcpListener;

/// What the handler answers when the payment is declined.
const DECLINED: u16 = 409;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    flags: Flags,
    /// Where the server is told of this program.
    #[arg(long, default_value = "http://127.0.0.1:9070")]
    admin: String,
}

struct Saga;

#[service]
impl Saga {
    #[handler]
    async fn order(&self, context: Context<'_>, input: String) -> HandlerResult<String> {
        place(&context, false).await?;
        Ok(input)
    }

    #[handler]
    async fn declined(&self, context: Context<'_>, input: String) -> HandlerResult<String> {
        place(&context, true).await?;
        Ok(input)
    }
}

async fn place(context: &Context<'_>, declined: bool) -> Result<(), TerminalError> {
    let mut undo = Vec::new();
    let placed = actions(context, declined, &mut undo).await;
    if placed.is_err() {
        for compensation in undo.into_iter().rev() {
            context.run(|| async { Ok(()) }).name(compensation).await?;
        }
    }
    placed
}

async fn actions(
    context: &Context<'_>,
    declined: bool,
    undo: &mut Vec<&'static str>,
) -> Result<(), TerminalError> {
    undo.push("release-stock");
    context.run(|| async { Ok(()) }).name("reserve-stock").await?;
    undo.push("restore-coupon");
    context.run(|| async { Ok(()) }).name("redeem-coupon").await?;
    let pay = async move || match declined {
        true => Err(TerminalError::new_with_code(DECLINED, "no").into()),
        false => Ok(()),
    };
    context.run(pay).name("capture-payment").await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Options { flags, admin } = Options::parse();
    let endpoint = Endpoint::builder().bind(Saga).build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    tokio::spawn(HttpServer::new(endpoint).serve(listener));
    let client = reqwest::Client::builder().no_proxy().build()?;
    register(&client, &uri, &admin).await?;
    let (handler, expected) = if flags.fail_last { ("declined", DECLINED) } else { ("order", 200) };
    let url = format!("{}/Saga/{handler}", flags.store);
    measure(&flags, move |n| {
        let request = client.post(&url).json(&input(n));
        async move {
            let answer = request.send().await?;
            anyhow::ensure!(answer.status().as_u16() == expected, "{}", answer.status());
            answer.bytes().await?;
            Ok(())
        }
    })
    .await?;
    std::process::exit(0)
}

/// Tells the server where the handlers are, as soon as it listens.
async fn register(client: &reqwest::Client, uri: &str, admin: &str) -> anyhow::Result<()> {
    let deployment = serde_json::json!({ "uri": uri, "force": true });
    for _ in 0..120 {
        let told = client.post(format!("{admin}/deployments")).json(&deployment).send().await;
        if told.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    anyhow::bail!("the server at {admin} takes no deployment")
}

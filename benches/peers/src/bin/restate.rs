//! Restate, with its Rust SDK: a handler of three durable runs, called through the ingress.
//!
//! Differs from ours: a run is at least once and is retried until it ends or says that it is
//! terminal; the handler's own code compensates, in the order in which it is written, and a
//! compensation that is not registered before the run is not made when the run's outcome is unknown.

use std::time::Duration;

use clap::Parser;
use restate_sdk::prelude::*;
use saga_peers::{Flags, input, measure};

/// Where the server finds this program.
const LISTEN: &str = "127.0.0.1:9080";
/// Where the server is told of it.
const ADMIN: &str = "http://127.0.0.1:9070";

struct Saga;

#[service]
impl Saga {
    #[handler]
    async fn order(&self, context: Context<'_>, input: String) -> HandlerResult<String> {
        context.run(|| async { Ok(()) }).name("reserve-stock").await?;
        context.run(|| async { Ok(()) }).name("redeem-coupon").await?;
        context.run(|| async { Ok(()) }).name("capture-payment").await?;
        Ok(input)
    }

    #[handler]
    async fn declined(&self, context: Context<'_>, input: String) -> HandlerResult<String> {
        context.run(|| async { Ok(()) }).name("reserve-stock").await?;
        context.run(|| async { Ok(()) }).name("redeem-coupon").await?;
        let paid = context
            .run(|| async { Err::<(), HandlerError>(TerminalError::new("no").into()) })
            .name("capture-payment")
            .await;
        if paid.is_err() {
            context.run(|| async { Ok(()) }).name("restore-coupon").await?;
            context.run(|| async { Ok(()) }).name("release-stock").await?;
        }
        Ok(input)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let endpoint = Endpoint::builder().bind(Saga).build();
    tokio::spawn(HttpServer::new(endpoint).listen_and_serve(LISTEN.parse()?));
    let client = reqwest::Client::builder().no_proxy().build()?;
    register(&client).await?;
    let handler = if flags.fail_last { "declined" } else { "order" };
    let url = format!("{}/Saga/{handler}", flags.store);
    measure(&flags, move |n| {
        let request = client.post(&url).json(&input(n));
        async move {
            request.send().await?.error_for_status()?.bytes().await?;
            Ok(())
        }
    })
    .await?;
    std::process::exit(0)
}

/// Tells the server where the handlers are, as soon as it listens.
async fn register(client: &reqwest::Client) -> anyhow::Result<()> {
    let deployment = serde_json::json!({ "uri": format!("http://{LISTEN}"), "force": true });
    for _ in 0..120 {
        let told = client.post(format!("{ADMIN}/deployments")).json(&deployment).send().await;
        if told.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    anyhow::bail!("the server at {ADMIN} takes no deployment")
}

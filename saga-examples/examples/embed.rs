//! A saga in your own process: no server, no HTTP, one SQLite file.
//!
//! `cargo run --package saga-examples --example embed`

use saga_core::{Definition, Failure, Input, Output, Step};
use saga_worker::Worker;

async fn book_room(Input((city, _)): Input<(String, u32)>) -> Result<u32, Failure> {
    println!("{city}: room 17 booked");
    Ok(17)
}

async fn cancel_room(room: Option<Output<u32>>) -> Result<(), Failure> {
    println!("{room:?} cancelled");
    Ok(())
}

async fn charge_card(Input((city, cents)): Input<(String, u32)>) -> Result<(), Failure> {
    if cents > 50_000 {
        return Err(Failure::rejected("over the limit of the card"));
    }
    println!("{city}: card charged");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let room = Step::compensatable("book-room", book_room, cancel_room);
    let book_trip = Definition::new("book-trip", [room, Step::pivot("charge-card", charge_card)])?;
    let file = std::env::temp_dir().join(format!("saga-embed-{}.db", std::process::id()));
    let store = saga_store::connect(&format!("sqlite://{}", file.display())).await?;
    let worker = Worker::builder(store).register(book_trip).start().await?;

    for trip in [("Lisbon", 20_000), ("Tokyo", 90_000)] {
        let saga = worker.start("book-trip", &trip).key(format!("trip-to-{}", trip.0)).await?;
        println!("{}: {}", trip.0, saga.verdict().await?);
    }
    worker.shutdown().await;
    println!("the log of both sagas is in {}", file.display());
    Ok(())
}

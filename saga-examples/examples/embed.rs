//! A saga in your own process: no server, no HTTP, one SQLite file.
//!
//! `cargo run --package saga-examples --example embed`

use saga_core::{Definition, Failure, Input, Output, Step};
use saga_worker::Worker;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Trip {
    city: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Room(u32);

async fn book_room(Input(trip): Input<Trip>) -> Result<Room, Failure> {
    println!("  room in {} booked", trip.city);
    Ok(Room(17))
}

async fn cancel_room(room: Option<Output<Room>>) -> Result<(), Failure> {
    println!("  {room:?} cancelled");
    Ok(())
}

async fn charge(Input(trip): Input<Trip>, Output(room): Output<Room>) -> Result<(), Failure> {
    if trip.cents > 50_000 {
        return Err(Failure::rejected("over the limit of the card"));
    }
    println!("  card charged for {room:?}");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let book_trip = Definition::new(
        "book-trip",
        [
            Step::compensatable("book-room", book_room, cancel_room),
            Step::pivot("charge-card", charge),
        ],
    )?;
    let file = std::env::temp_dir().join(format!("saga-embed-{}.db", std::process::id()));
    let store = saga_store::connect(&format!("sqlite://{}", file.display())).await?;
    let worker = Worker::builder(store).register(book_trip).start().await?;

    for (city, cents) in [("Lisbon", 20_000), ("Tokyo", 90_000)] {
        println!("{city}:");
        let trip = Trip { city: city.to_owned(), cents };
        let saga = worker.start("book-trip", &trip).key(format!("trip-to-{city}")).await?;
        println!("  verdict: {}", saga.verdict().await?);
    }
    worker.shutdown().await;
    println!("the log of both sagas is in {}", file.display());
    Ok(())
}

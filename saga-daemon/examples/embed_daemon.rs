//! The daemon in a program of one's own: the whole command line, with steps in Rust.
//!
//! ```text
//! cargo run -p saga-daemon --example embed_daemon -- serve
//! cargo run -p saga-daemon --bin saga-worker -- start brew-tea '{"cups": 2}' --wait 10s
//! cargo run -p saga-daemon --bin saga-worker -- start brew-tea '{"cups": 99}' --wait 10s
//! ```

use std::process::ExitCode;
use std::time::Duration;

use saga_core::{Definition, DefinitionError, Failure, Input, Output, Step};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Tea {
    cups: u32,
    /// How long the water takes to boil.
    #[serde(default)]
    boil_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Water {
    litres: f64,
}

async fn draw_water(Input(tea): Input<Tea>) -> Result<Water, Failure> {
    Ok(Water { litres: f64::from(tea.cups) * 0.25 })
}

async fn pour_away(water: Option<Output<Water>>) -> Result<(), Failure> {
    if let Some(Output(water)) = water {
        tracing::info!(water.litres, "back to the plants");
    }
    Ok(())
}

async fn boil(Input(tea): Input<Tea>, Output(water): Output<Water>) -> Result<(), Failure> {
    if water.litres > 2.0 {
        return Err(Failure::rejected("the kettle holds two litres"));
    }
    tokio::time::sleep(Duration::from_millis(tea.boil_ms)).await;
    Ok(())
}

async fn serve_tea(Input(tea): Input<Tea>) -> Result<String, Failure> {
    Ok(format!("{} cups of tea", tea.cups))
}

fn brew_tea() -> Result<Definition, DefinitionError> {
    Definition::new(
        "brew-tea",
        [
            Step::compensatable("draw-water", draw_water, pour_away),
            Step::pivot("boil", boil),
            Step::retriable("serve-tea", serve_tea),
        ],
    )
}

fn main() -> ExitCode {
    match brew_tea() {
        Ok(brew_tea) => saga_daemon::cli::run(vec![brew_tea]),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

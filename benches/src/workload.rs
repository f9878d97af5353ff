//! The "order saga" of the measurements: about 200 bytes of input, three steps that return at once.

use saga_core::{Definition, DefinitionError, Failure, Output, Step, Verdict};
use serde::{Deserialize, Serialize};

/// The definition's name.
pub(crate) const ORDER: &str = "bench-order";

/// About 200 bytes of JSON, and as many more as wanted.
#[derive(Serialize)]
pub(crate) struct Order {
    number: String,
    customer: String,
    items: Vec<Item>,
    note: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    more: String,
}

/// How large a saga is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Steps, all compensatable but the last, which is the pivot; at least 2.
    pub(crate) steps: u16,
    /// Bytes of input beyond the usual 200.
    pub(crate) more_bytes: usize,
}

impl Default for Shape {
    /// The order saga of the measurements.
    fn default() -> Self {
        Self { steps: 3, more_bytes: 0 }
    }
}

#[derive(Serialize)]
struct Item {
    sku: &'static str,
    quantity: u32,
    cents: u32,
}

#[derive(Serialize, Deserialize)]
struct Reserved(u32);
#[derive(Serialize, Deserialize)]
struct Frozen(u32);

impl Order {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number: format!("order-{number:012}"),
            customer: format!("customer-{:08}", number % 100_000),
            items: vec![
                Item { sku: "SKU-000-117", quantity: 2, cents: 1_999 },
                Item { sku: "SKU-000-942", quantity: 1, cents: 12_950 },
            ],
            note: "leave at the door",
            more: String::new(),
        }
    }

    pub(crate) fn of_shape(number: u64, shape: Shape) -> Self {
        Self { more: "x".repeat(shape.more_bytes), ..Self::new(number) }
    }
}

/// Two compensatable steps and a third that succeeds, or is rejected so that both are compensated.
pub(crate) fn definition(fail_last: bool) -> Result<Definition, DefinitionError> {
    definition_of(Shape::default(), fail_last)
}

/// The same with as many steps as the shape has.
pub(crate) fn definition_of(shape: Shape, fail_last: bool) -> Result<Definition, DefinitionError> {
    let capture = move || async move {
        if fail_last { Err(Failure::rejected_for_good("declined")) } else { Ok(()) }
    };
    let steps = (1..shape.steps).map(|nth| match nth {
        1 => Step::compensatable("reserve", async || ok(Reserved(1)), release),
        2 => Step::compensatable("freeze", async || ok(Frozen(2)), unfreeze),
        nth => Step::compensatable(format!("reserve-{nth}"), async || ok(Reserved(1)), release),
    });
    Definition::new(ORDER, steps.chain([Step::pivot("capture", capture)]))
}

/// How a saga of that definition ends.
pub(crate) fn verdict(fail_last: bool) -> Verdict {
    if fail_last { Verdict::Compensated } else { Verdict::Completed }
}

fn ok<T>(value: T) -> Result<T, Failure> {
    Ok(value)
}

async fn release(_: Option<Output<Reserved>>) -> Result<(), Failure> {
    Ok(())
}

async fn unfreeze(_: Option<Output<Frozen>>) -> Result<(), Failure> {
    Ok(())
}

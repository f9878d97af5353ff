//! What the engine sends: the JSON body of a call and the identity that its headers carry.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::{self, Problem};

/// Which of a step's two operations is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// The local transaction itself.
    Action,
    /// Its semantic undo.
    Compensation,
}

impl Op {
    /// The word for it in headers, idempotency keys and guard rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Action => "action",
            Op::Compensation => "compensation",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`Op`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no operation of a step; expected `action` or `compensation`")]
pub struct UnknownOp(String);

impl FromStr for Op {
    type Err = UnknownOp;

    fn from_str(word: &str) -> Result<Self, UnknownOp> {
        match word {
            "action" => Ok(Op::Action),
            "compensation" => Ok(Op::Compensation),
            other => Err(UnknownOp(other.to_owned())),
        }
    }
}

/// The JSON body of a call to a participant.
///
/// `I` is the type of the saga's input. Fields the participant does not know are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<I = Value> {
    /// The id of the saga.
    pub saga_id: String,
    /// The name of the saga's definition, for instance `place-order`.
    pub saga: String,
    /// The name of the step, for instance `reserve-stock`.
    pub step: String,
    /// The number of this attempt, from 1. Never a reason to do the business twice: all attempts
    /// share one identity.
    pub attempt: u32,
    /// The input of the saga.
    pub input: I,
    /// The outputs of the earlier steps by step name; in a compensation also the step's own, if
    /// the engine knows it. Read it with types through [`Call::output`]. Default: empty.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
}

impl<I> Call<I> {
    /// What this call is one attempt of.
    #[must_use]
    pub fn identity(&self, op: Op) -> CallIdentity {
        CallIdentity { saga_id: self.saga_id.clone(), step: self.step.clone(), op }
    }

    /// The output of the earlier step `step`, as a `T`.
    ///
    /// # Errors
    /// A 400 problem when the call brings no output of that step, or one of another shape. Both
    /// say that participant and saga definition do not fit together.
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Result<T, Problem> {
        let output = self.outputs.get(step).ok_or_else(|| {
            let known: Vec<&str> = self.outputs.keys().map(String::as_str).collect();
            problem::malformed_call(format!(
                "`outputs` has no output of step `{step}`, which `{}` needs; it has: [{}]. \
                 Place `{step}` before `{}` in the definition `{}`.",
                self.step,
                known.join(", "),
                self.step,
                self.saga,
            ))
        })?;
        T::deserialize(output).map_err(|fault| {
            problem::malformed_call(format!(
                "`outputs.{step}` is `{output}`, which does not fit: {fault}. \
                 The participant of `{step}` answers in another shape than `{}` expects.",
                self.step,
            ))
        })
    }
}

/// What all attempts of one call have in common: the saga, the step and the operation.
///
/// The barrier keeps one guard row per identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallIdentity {
    /// The id of the saga.
    pub saga_id: String,
    /// The name of the step.
    pub step: String,
    /// The operation.
    pub op: Op,
}

impl CallIdentity {
    /// The value of the header `Idempotency-Key`: `<saga_id>:<step>:<op>`.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for CallIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.saga_id, self.step, self.op)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> Call {
        serde_json::from_value(json!({
            "saga_id": "s-1", "saga": "place-order", "step": "capture-payment", "attempt": 2,
            "input": {"order": "order-17"}, "outputs": {"redeem-coupon": {"discount_cents": 500}},
        }))
        .unwrap()
    }

    #[test]
    fn every_op_is_read_back_from_its_own_word() {
        for op in [Op::Action, Op::Compensation] {
            assert_eq!(op.as_str().parse(), Ok(op));
        }
        let fault = "undo".parse::<Op>().unwrap_err().to_string();
        assert!(fault.contains("`undo`") && fault.contains("`compensation`"), "{fault}");
    }

    #[test]
    fn action_and_compensation_have_different_idempotency_keys() {
        let call = call();
        assert_eq!(call.identity(Op::Action).idempotency_key(), "s-1:capture-payment:action");
        assert_eq!(
            call.identity(Op::Compensation).idempotency_key(),
            "s-1:capture-payment:compensation"
        );
    }

    #[test]
    fn the_output_of_an_earlier_step_is_read_with_its_type() {
        #[derive(Deserialize)]
        struct Redeemed {
            discount_cents: u64,
        }
        let redeemed: Redeemed = call().output("redeem-coupon").unwrap();
        assert_eq!(redeemed.discount_cents, 500);
    }

    #[test]
    fn an_output_that_is_missing_or_of_another_shape_is_a_problem_that_names_the_step() {
        let missing = call().output::<Value>("freeze-points").unwrap_err();
        assert_eq!(missing.status, Some(400));
        let detail = missing.detail.unwrap();
        assert!(detail.contains("freeze-points") && detail.contains("[redeem-coupon]"), "{detail}");

        let misfit = call().output::<u64>("redeem-coupon").unwrap_err().detail.unwrap();
        assert!(misfit.contains("outputs.redeem-coupon") && misfit.contains("500"), "{misfit}");
    }
}

//! What a participant answers: processed, rejected or not yet. All else is unknown to the engine.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{self, Problem};

/// The answer to a call, ready to be sent: status, JSON body, and whether the barrier recorded it.
///
/// The barrier makes it. A participant without a barrier builds it with [`Answer::processed`],
/// [`Answer::rejected`] or [`Answer::not_yet`]; such an answer is not recorded. With the feature
/// `axum` it is a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    body: String,
    recorded: bool,
    retry_after: Option<Duration>,
}

impl Answer {
    /// The local transaction is done and `output` is what later steps and the compensation read.
    ///
    /// # Errors
    /// When `output` has no JSON form, for instance a map whose keys are not text.
    pub fn processed<T: Serialize + ?Sized>(output: &T) -> Result<Answer, serde_json::Error> {
        Ok(Answer::of(200, serde_json::to_string(output)?))
    }

    /// The business says no, and there was no effect. The engine begins backward recovery.
    #[must_use]
    pub fn rejected(reason: impl Into<String>) -> Answer {
        let problem =
            Problem::new(problem::REJECTED, "The participant rejects the call", 422, reason);
        Answer::of(422, problem.to_json())
    }

    /// Nothing was done; the engine should come again after `retry_after` (sent in whole seconds,
    /// rounded up).
    #[must_use]
    pub fn not_yet(reason: impl Into<String>, retry_after: Duration) -> Answer {
        let problem = Problem::new(problem::NOT_YET, "Not yet, come again", 503, reason);
        Answer { retry_after: Some(retry_after), ..Answer::of(503, problem.to_json()) }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The JSON body: the output, or a [`Problem`].
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Whether the local transaction took effect (status 200).
    #[must_use]
    pub fn is_processed(&self) -> bool {
        self.status == 200
    }

    /// Whether this answer is recorded and so holds for every attempt of the call, earlier or late.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// How long the engine should wait before it comes again, in an answer "not yet".
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The output, as a `T`.
    ///
    /// # Errors
    /// When the output has another shape, or the answer is a problem and has no output.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.body)
    }

    fn of(status: u16, body: String) -> Answer {
        Answer { status, body, recorded: false, retry_after: None }
    }
}

/// The ways to an answer that only the barrier may go, because they promise a guard row.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "rusqlite"))]
impl Answer {
    /// Marks the answer as written to its guard row.
    pub(crate) fn recorded(self) -> Answer {
        Answer { recorded: true, ..self }
    }

    /// The answer that a guard row holds.
    pub(crate) fn replay(status: u16, body: String) -> Answer {
        Answer::of(status, body).recorded()
    }

    /// Success without an output: a compensation had nothing to undo.
    pub(crate) fn nothing_to_compensate() -> Answer {
        Answer::replay(200, "null".to_owned())
    }

    /// The refusal of an action whose compensation came first.
    pub(crate) fn dangling_action(idempotency_key: &str) -> Answer {
        let problem = Problem::new(
            problem::DANGLING_ACTION,
            "The action came after its compensation",
            409,
            format!(
                "The call `{idempotency_key}` was compensated before it arrived. It was not done \
                 and will not be done under this key; start a new saga to do it."
            ),
        );
        Answer::replay(409, problem.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_comes_back_with_its_type() {
        let answer = Answer::processed(&("sku-1", 3)).unwrap();
        assert!(answer.is_processed() && !answer.is_recorded());
        assert_eq!(answer.output::<(String, u32)>().unwrap(), ("sku-1".to_owned(), 3));
    }

    #[test]
    fn the_reason_of_a_rejection_is_the_detail_of_its_problem() {
        let answer = Answer::rejected("out of stock");
        assert_eq!((answer.status(), answer.is_processed()), (422, false));
        let problem: Problem = serde_json::from_str(answer.body()).unwrap();
        assert_eq!(problem.reason(), Some("out of stock"));
        assert_eq!(problem.kind.as_deref(), Some(problem::REJECTED));
    }

    #[test]
    fn not_yet_says_when_to_come_again() {
        let answer = Answer::not_yet("another order holds the lock", Duration::from_secs(2));
        assert_eq!((answer.status(), answer.retry_after()), (503, Some(Duration::from_secs(2))));
    }
}

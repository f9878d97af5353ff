//! Problem bodies (RFC 9457), the shape of every answer that is not a success.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The media type of a problem body.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Type of the answer of a business that says no: status 422, `detail` is the reason.
pub const REJECTED: &str = "https://github.com/saga-engine/saga/problems/rejected";

/// Type of the answer to an action that came after its compensation: status 409. The action was
/// not done and never will be under this key.
pub const DANGLING_ACTION: &str = "https://github.com/saga-engine/saga/problems/dangling-action";

/// Type of the answer "not yet, come again": status 503; nothing was done.
pub const NOT_YET: &str = "https://github.com/saga-engine/saga/problems/not-yet";

/// Type of the answer to a call that breaks the participant protocol: status 400.
pub const MALFORMED_CALL: &str = "https://github.com/saga-engine/saga/problems/malformed-call";

/// Type of the answer when the participant failed: status 500; the engine takes it as unknown.
pub const FAILED: &str = "https://github.com/saga-engine/saga/problems/failed";

/// A problem body of RFC 9457. Every member is optional on the wire, unknown members are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A URI that names the kind of problem. Default: absent, which means `about:blank`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A short title, the same for every problem of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The HTTP status it was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What is wrong this time, for a person. In a rejection: the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// A URI that names this one occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Problem {
    /// A problem of the kind `kind` with all that a person needs.
    #[must_use]
    pub fn new(kind: &str, title: &str, status: u16, detail: impl Into<String>) -> Problem {
        Problem {
            kind: Some(kind.to_owned()),
            title: Some(title.to_owned()),
            status: Some(status),
            detail: Some(detail.into()),
            instance: None,
        }
    }

    /// The most telling text there is: the detail, else the title.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.detail.as_deref().or(self.title.as_deref())
    }

    /// The problem as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and a number always serialises")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().unwrap_or("a problem without detail or title"))
    }
}

impl std::error::Error for Problem {}

/// The 400 for a call that breaks the protocol.
pub(crate) fn malformed_call(detail: impl Into<String>) -> Problem {
    Problem::new(MALFORMED_CALL, "The call breaks the participant protocol", 400, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_a_stranger_is_read_as_far_as_it_goes() {
        let problem: Problem =
            serde_json::from_str(r#"{"title":"Sold out","balance":30,"instance":"/a/1"}"#).unwrap();
        assert_eq!(problem.reason(), Some("Sold out"));
        assert_eq!(problem.kind, None);
    }

    #[test]
    fn a_problem_is_read_back_as_it_was_written() {
        let problem = Problem::new(REJECTED, "Rejected", 422, "out of stock");
        assert_eq!(serde_json::from_str::<Problem>(&problem.to_json()).unwrap(), problem);
        assert_eq!(problem.to_string(), "out of stock");
    }
}

//! What a subscriber wants to hear of.

use saga_core::{Event, Status};
use serde::Deserialize;

use super::frame::bit;
use super::{Frame, From};
use crate::problem::Problem;
use crate::request::Call;

/// What a transition has to be like; what is empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    name: Option<Box<str>>,
    key: Option<Box<str>>,
    statuses: Vec<Status>,
    /// The kinds of events of which it has to have one, a bit each; 0 for any.
    kinds: u32,
}

/// A filter as words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    pub(crate) after: Option<String>,
    name: Option<String>,
    key: Option<String>,
    status: Option<String>,
    event: Option<String>,
    #[serde(default)]
    verdicts: bool,
}

impl Words {
    /// What the query of a request says.
    pub(crate) fn of(call: &Call) -> Result<Self, Problem> {
        let text = |name: &str| call.parameter(name).map(str::to_owned);
        Ok(Self {
            after: text("after"),
            name: text("name"),
            key: text("key"),
            status: text("status"),
            event: text("event"),
            verdicts: call.parsed("verdicts", "true or false")?.unwrap_or(false),
        })
    }

    /// The place they begin at; by default with what comes from now on.
    pub(crate) fn from(&self) -> Result<From, Problem> {
        self.after.as_deref().map_or(Ok(From::Now), |text| From::parse("after", text))
    }

    /// The filter they mean.
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        let mut kinds = 0;
        for word in self.event.iter().flat_map(|words| words.split(',')) {
            if !Event::KINDS.contains(&word) {
                let known = Event::KINDS.join(", ");
                let expected = format!("one or several of {known}, separated by commas");
                return Err(Problem::field("event", word, &expected));
            }
            kinds |= bit(word);
        }
        if self.verdicts {
            // Beside other kinds the two together would be hard to tell from either alone.
            if kinds != 0 {
                return Err(Problem::field("verdicts", "true", "no `event` beside it"));
            }
            kinds = bit("saga_ended");
        }
        Ok(Filter {
            name: self.name.as_deref().map(Into::into),
            key: self.key.as_deref().map(Into::into),
            statuses: statuses(self.status.as_deref())?,
            kinds,
        })
    }
}

impl Filter {
    /// Whether a transition is to be sent.
    pub(super) fn lets(&self, frame: &Frame) -> bool {
        self.name.as_deref().is_none_or(|name| name == frame.name)
            && self.key.as_deref().is_none_or(|key| frame.key.as_deref() == Some(key))
            && (self.statuses.is_empty() || self.statuses.contains(&frame.status))
            && (self.kinds == 0 || self.kinds & frame.kinds != 0)
    }
}

fn statuses(text: Option<&str>) -> Result<Vec<Status>, Problem> {
    let status = |word: &str| {
        Status::parse(word).ok_or_else(|| {
            let known = Status::ALL.map(Status::as_str).join(", ");
            let expected = format!("one or several of {known}, separated by commas");
            Problem::field("status", word, &expected)
        })
    };
    text.map_or(Ok(Vec::new()), |text| text.split(',').map(status).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Result<Filter, String> {
        let words: Words = serde_json::from_str(json).map_err(|error| error.to_string())?;
        words.filter().map_err(|problem| problem.body().detail.clone())
    }

    #[test]
    fn a_filter_says_what_it_does_not_understand() {
        for (json, wrong) in [
            (r#"{"event":"saga_ended,nonsense"}"#, "nonsense"),
            (r#"{"status":"asleep"}"#, "asleep"),
            (r#"{"verdicts":true,"event":"worker_lost"}"#, "verdicts"),
            (r#"{"colour":"red"}"#, "colour"),
        ] {
            let error = filter(json).unwrap_err();
            assert!(error.contains(wrong), "{json}: {error}");
        }
    }

    #[test]
    fn verdicts_are_the_transitions_that_end_a_saga() {
        let verdicts = filter(r#"{"verdicts":true}"#).unwrap();
        assert_eq!(verdicts, filter(r#"{"event":"saga_ended"}"#).unwrap());
        assert_ne!(verdicts, Filter::default());
    }

    #[test]
    fn every_kind_of_event_has_a_bit_of_its_own() {
        let all = Event::KINDS.iter().fold(0, |bits, kind| bits | bit(kind));
        assert_eq!(all.count_ones() as usize, Event::KINDS.len());
    }
}

//! Operator commands: each is answered once, what it was told is what the log says, and the verdict
//! is one that it allows.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use saga_core::store::CommandAnswer;
use saga_core::{
    Command, CommandAction, Event, Refusal, Saga, SagaId, StepKind, Transition, Verdict,
};

use crate::soak::operators::{Given, Told};
use crate::soak::sql::Reader;
use crate::soak::tally::Tally;

const COMMANDS: &str = "SELECT saga_id, body, answer FROM saga_command WHERE bucket = $1";

/// A command as the store keeps it.
#[derive(Debug, Clone)]
struct Kept {
    command: Command,
    answer: Option<CommandAnswer>,
}

/// All commands of a soak, by saga.
#[derive(Debug, Default)]
pub(super) struct Commands {
    kept: HashMap<SagaId, Vec<Kept>>,
    given: HashMap<SagaId, Vec<Given>>,
}

impl Commands {
    /// The commands that were given, beside those that [`Commands::read`] finds in the store.
    pub(super) fn given(all: Vec<Given>) -> Self {
        let mut given: HashMap<SagaId, Vec<Given>> = HashMap::new();
        for command in all {
            given.entry(command.saga).or_default().push(command);
        }
        Self { kept: HashMap::new(), given }
    }

    /// Reads the inbox of a bucket.
    ///
    /// # Errors
    /// When the database cannot be read, or a command in it cannot.
    pub(super) async fn read(&mut self, reader: &mut Reader, bucket: i64) -> anyhow::Result<()> {
        let rows: Vec<(Vec<u8>, String, Option<String>)> = reader.rows(COMMANDS, &[bucket]).await?;
        for (id, body, answer) in rows {
            let id = SagaId::from_bytes(id.try_into().unwrap_or_default());
            let command = serde_json::from_str(&body).context("a command is unreadable")?;
            let answer = answer.map(|answer| serde_json::from_str(&answer)).transpose();
            let answer = answer.context("the answer to a command is unreadable")?;
            self.kept.entry(id).or_default().push(Kept { command, answer });
        }
        Ok(())
    }

    /// How many have an answer.
    pub(super) fn number(&self) -> u64 {
        self.given.values().map(|given| given.len() as u64).sum()
    }

    /// S13, S14: what became of every command to a saga. What one that is forgotten was told is held
    /// against its log alone, for its inbox went with it.
    pub(super) fn check(&self, tally: &Tally, saga: &Saga, log: &[Transition], is_forgotten: bool) {
        let id = saga.id();
        let kept = self.kept.get(&id).map(Vec::as_slice).unwrap_or_default();
        let given = self.given.get(&id).map(Vec::as_slice).unwrap_or_default();
        let told = OfLog::read(saga, log);
        let found = told.check_itself().into_iter();
        let found = found.chain(kept.iter().filter_map(|kept| told.check_kept(kept)));
        let found = found.chain(given.iter().filter_map(|given| match is_forgotten {
            true => told.check_told(given),
            false => told.check_given(given, kept),
        }));
        for (invariant, what) in found {
            tally.violated(invariant, format!("saga {id}: {what}"));
        }
    }

    /// S13: a command that was answered went to a saga that is known.
    pub(super) fn check_strangers(&self, tally: &Tally, is_known: impl Fn(SagaId) -> bool) {
        for id in self.given.keys().chain(self.kept.keys()).filter(|id| !is_known(**id)) {
            tally.violated("S13", format!("saga {id} was given commands, but is gone"));
        }
    }
}

/// An invariant, and how it is violated.
type Found = (&'static str, String);

/// What the log of a saga says of commands.
struct OfLog<'a> {
    saga: &'a Saga,
    events: Vec<&'a Event>,
    /// The commands that were carried out, by request id.
    accepted: BTreeMap<&'a str, Vec<&'a Command>>,
}

impl<'a> OfLog<'a> {
    fn read(saga: &'a Saga, log: &'a [Transition]) -> Self {
        let events: Vec<_> = log.iter().flat_map(|transition| &transition.events).collect();
        let mut accepted: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in &events {
            if let Event::CommandAccepted(command) = event {
                accepted.entry(command.request_id.as_str()).or_default().push(command);
            }
        }
        Self { saga, events, accepted }
    }

    /// Each command once; no cancelled saga completed; none that is paused goes on; one that is
    /// stopped ends at once.
    fn check_itself(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut violated = |what: String| found.push(("S14", what));
        for (request_id, times) in self.accepted.iter().filter(|(_, times)| times.len() > 1) {
            violated(format!("{request_id} was carried out {} times", times.len()));
        }
        let turned = self.accepted.values().flatten().find(|command| {
            matches!(command.action, CommandAction::Cancel | CommandAction::Compensate)
        });
        if let (Some(command), Some((_, Verdict::Completed))) = (turned, self.saga.ended()) {
            violated(format!("{} was carried out, and yet it is completed", command.request_id));
        }
        let (mut paused, mut stopped) = (false, false);
        for event in &self.events {
            if stopped && !matches!(event, Event::SagaEnded { .. }) {
                violated("it was stopped and did not end at once".to_owned());
            }
            stopped = false;
            match event {
                Event::CommandAccepted(command) => match command.action {
                    CommandAction::Pause => paused = true,
                    CommandAction::Resume => paused = false,
                    CommandAction::Stop => stopped = true,
                    _ => {}
                },
                Event::StepReceived { .. } | Event::CompensationReceived { .. } if paused => {
                    violated(format!("it was paused, and yet there is {event:?}"));
                }
                _ => {}
            }
        }
        if stopped {
            violated("it was stopped and did not end".to_owned());
        }
        found
    }

    /// A command on record has one answer, the one that the log gives.
    fn check_kept(&self, Kept { command, answer }: &Kept) -> Option<Found> {
        let request_id = command.request_id.as_str();
        let in_log = self.accepted.get(request_id).and_then(|times| times.first());
        let what = match (answer, in_log) {
            (None, _) => {
                return Some(("L2", format!("command {request_id} was never answered")));
            }
            (Some(CommandAnswer::Accepted), None) => {
                format!("{request_id} is answered as carried out, and is not in the log")
            }
            (Some(CommandAnswer::Refused(why)), Some(_)) => {
                format!("{request_id} was carried out, and is answered as refused: {why}")
            }
            (Some(CommandAnswer::Accepted), Some(of_log)) if *of_log != command => {
                format!("{request_id} in the log is another command than the one on record")
            }
            (Some(CommandAnswer::Accepted), Some(_)) => return None,
            (Some(CommandAnswer::Refused(why)), None) if self.is_grounded(why) => return None,
            (Some(CommandAnswer::Refused(why)), None) => {
                format!("{request_id} was refused for what is not so by the log: {why}")
            }
        };
        Some(("S14", what))
    }

    /// Whether a refusal that says something for ever is right.
    fn is_grounded(&self, why: &Refusal) -> bool {
        let first = |verdict: &str| verdict.split(',').next().map(str::to_owned);
        match (why, self.saga.ended()) {
            (Refusal::PivotHandedOut { .. }, _) => self.events.iter().any(|event| match event {
                Event::StepReceived { step, .. } => {
                    self.saga.spec().step(*step).kind != StepKind::Compensatable
                }
                _ => false,
            }),
            (Refusal::Ended { .. }, None) => false,
            (Refusal::Ended { verdict }, Some((_, is))) => first(verdict) == first(&is.to_string()),
            _ => true,
        }
    }

    /// S13: what was told of a command to a saga that is forgotten is what its log says.
    fn check_told(&self, Given { request_id, told, .. }: &Given) -> Option<Found> {
        let in_log = self.accepted.contains_key(request_id.as_str());
        let log = if in_log { "is" } else { "is not" };
        (in_log != (*told == Told::CarriedOut))
            .then(|| ("S13", format!("{request_id} was told {told:?}, and it {log} in the log")))
    }

    /// S13: what whoever gave the command was told is what is on record, and what the log says.
    fn check_given(&self, Given { request_id, told, .. }: &Given, kept: &[Kept]) -> Option<Found> {
        let in_log = self.accepted.contains_key(request_id.as_str());
        let on_record = kept.iter().find(|kept| kept.command.request_id.as_str() == request_id);
        let answer = on_record.and_then(|kept| kept.answer.as_ref());
        let is_so = match (told, answer) {
            (Told::CarriedOut, Some(CommandAnswer::Accepted)) => in_log,
            (Told::Refused(why), Some(CommandAnswer::Refused(kept))) => {
                !in_log && kept.to_string() == *why
            }
            _ => false,
        };
        let log = if in_log { "is" } else { "is not" };
        (!is_so).then(|| {
            let what = format!(
                "{request_id} was told {told:?}; on record is {answer:?}, and it {log} in the log"
            );
            ("S13", what)
        })
    }
}

#[cfg(test)]
mod tests;

//! What must hold at the end, checked against the participants and not only against the log.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::store::Definitions;
use saga_core::store::{Query, SagaLog};
use saga_core::{
    CommandAction, Digest, Effect, Event, LogRow, MemoryStore, Op, Saga, SagaId, Verdict,
};

use super::customers::Told;
use super::participants::{Effects, Participants};

/// Counts what happened and finds what must not have happened.
pub(super) struct Checker<'a> {
    pub(super) memory: &'a MemoryStore,
    pub(super) participants: &'a Participants,
    pub(super) counters: BTreeMap<&'static str, u64>,
    pub(super) fingerprint: Digest,
}

impl Checker<'_> {
    /// Checks every saga.
    pub(super) async fn check(&mut self, told: &[Told]) -> Result<(), String> {
        let stored = self.memory.find(&Query { limit: 500, ..Query::default() }).await;
        let stored = stored.map_err(|error| error.to_string())?;
        let (found, known): (BTreeSet<_>, BTreeSet<_>) =
            (stored.iter().map(|row| row.id).collect(), told.iter().map(|told| told.id).collect());
        if found != known {
            return Err(format!("S11: {} sagas for {} orders", found.len(), known.len()));
        }
        for told in told {
            let why = |violation| format!("saga {} ({}): {violation}", told.id, told.name);
            self.check_saga(told).await.map_err(why)?;
        }
        Ok(())
    }

    async fn check_saga(&mut self, told: &Told) -> Result<(), String> {
        let loaded = self.memory.load(told.id).await.map_err(|error| error.to_string())?;
        let (row, log) = loaded.ok_or("S13: an acknowledged saga is gone")?;
        let spec = self.memory.definition(told.name, 1).await.map_err(|error| error.to_string())?;
        let spec = std::sync::Arc::new(spec.ok_or("its definition is gone")?);
        let saga = Saga::replay(told.id, spec, &log).map_err(|error| format!("S2: {error}"))?;
        if saga.status() != row.summary.status || row.owner.is_some() || row.seq != saga.head().seq
        {
            return Err(format!("S2: the state row {row:?} does not follow from the log"));
        }
        let (_, verdict) = saga.ended().ok_or("L2: it has no verdict")?;
        self.check_effects(&saga, verdict)?;
        let events = events(&log)?;
        self.check_intents(told.id, &events, &saga)?;
        self.check_commands(told, &events)?;
        if let Some(watched) = &told.watched
            && !watched.iter().copied().eq(1..=row.seq)
        {
            return Err(format!("S15: a watcher saw {watched:?} of {} rows", row.seq));
        }
        self.count_journey(&events, verdict);
        self.fingerprint = Digest::of(&[
            self.fingerprint.as_bytes(),
            saga.head().digest.as_bytes(),
            format!("{:?}", self.effects(&saga)).as_bytes(),
        ]);
        Ok(())
    }

    fn effects(&self, saga: &Saga) -> Vec<(String, Effects)> {
        let names = saga.spec().steps.iter().map(|step| step.name.clone());
        names.map(|step| (step.clone(), self.participants.effects(saga.id(), &step))).collect()
    }

    /// S4, S5, S6: the verdict is what the participants would say.
    fn check_effects(&self, saga: &Saga, verdict: &Verdict) -> Result<(), String> {
        for (step, effects) in self.effects(saga) {
            let Effects { done, undone } = effects;
            if done > 1 || undone > done {
                return Err(format!(
                    "S6: step {step} was done {done} times, undone {undone} times"
                ));
            }
            let right = match verdict {
                Verdict::Completed => (done, undone) == (1, 0),
                Verdict::Compensated => done == undone,
                Verdict::Stopped { remaining } => {
                    match remaining.iter().find(|remaining| remaining.step == step) {
                        Some(remaining) if remaining.effect == Effect::Present => {
                            (done, undone) == (1, 0)
                        }
                        Some(_) => true,
                        None => done == undone,
                    }
                }
            };
            if !right {
                return Err(format!("S4/S5: {verdict}, but step {step} is {effects:?}"));
            }
        }
        Ok(())
    }

    /// S7: every call that was made has its own durable intent.
    fn check_intents(&self, id: SagaId, events: &[Event], saga: &Saga) -> Result<(), String> {
        let name = |step: &saga_core::StepIndex| saga.spec().name_of(*step).to_owned();
        let intent = |event: &Event| match event {
            Event::StepReceived { step, attempt } => Some((name(step), Op::Action, *attempt)),
            Event::CompensationReceived { step, attempt } => {
                Some((name(step), Op::Compensation, *attempt))
            }
            _ => None,
        };
        let mut intents: BTreeSet<_> = events.iter().filter_map(intent).collect();
        for (_, step, op, attempt) in
            self.participants.made().into_iter().filter(|made| made.0 == id)
        {
            if !intents.remove(&(step.clone(), op, attempt)) {
                return Err(format!(
                    "S7: attempt {attempt} of the {op} of {step} has no intent of its own"
                ));
            }
        }
        Ok(())
    }

    /// S14: what a caller was told is what the log says.
    fn check_commands(&mut self, told: &Told, events: &[Event]) -> Result<(), String> {
        for (request_id, action, answer) in &told.commands {
            let accepted = |event: &&Event| match event {
                Event::CommandAccepted(command) => command.request_id == *request_id,
                _ => false,
            };
            let in_log = events.iter().filter(accepted).count();
            if in_log > 1 {
                return Err(format!("S14: {action} was carried out {in_log} times"));
            }
            if answer.is_some_and(|answer| answer != (in_log == 1)) {
                return Err(format!(
                    "S14: {action} was answered {answer:?}, but the log says {in_log}"
                ));
            }
            if *action == CommandAction::Cancel {
                match answer {
                    Some(true) => self.count("cancel won", 1),
                    Some(false) => self.count("cancel lost", 1),
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn count_journey(&mut self, events: &[Event], verdict: &Verdict) {
        self.count(
            match verdict {
                Verdict::Completed => "completed",
                Verdict::Compensated => "compensated",
                Verdict::Stopped { .. } => "stopped",
            },
            1,
        );
        let mut turned = false;
        for event in events {
            match event {
                Event::WorkerLost if turned => self.count("worker lost while compensating", 1),
                Event::WorkerLost => self.count("worker lost", 1),
                Event::RecoveryBegan { .. } => turned = true,
                Event::CallHeld { .. } => self.count("held by a breaker", 1),
                Event::SagaStuck { .. } => self.count("stuck", 1),
                _ => {}
            }
        }
    }

    pub(super) fn count(&mut self, what: &'static str, times: u64) {
        *self.counters.entry(what).or_default() += times;
    }
}

fn events(log: &[LogRow]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for row in log {
        events.extend(row.decode().map_err(|error| format!("S2: {error}"))?.events);
    }
    Ok(events)
}

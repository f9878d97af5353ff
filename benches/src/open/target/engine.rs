//! The engine inside this process, with participants inside it as well: what the engine itself does.

use std::sync::Arc;
use std::time::Duration;

use saga_core::{BoxFuture, Call, Failure, MemoryStore, Op, Payload, Step, StepContext, StepKind};
use saga_core::{Store, Verdict};
use saga_examples::order::Order;
use saga_participant::CallIdentity;
use saga_worker::{Client, SystemClock, Worker};

use crate::database::Database;
use crate::open::ledger::Answer;
use crate::open::order::{OrderStep, PLACE_ORDER, order};
use crate::open::participants::{Delivery, Participants};
use crate::open::policies::Policies;
use crate::open::recorder::End;

/// How long a client waits for a verdict.
const PATIENCE: Duration = Duration::from_secs(600);

/// Workers of this process.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) workers: Vec<Worker>,
    pub(crate) participants: Arc<Participants>,
}

impl Engine {
    pub(crate) async fn start(
        database: &Database,
        workers: u8,
        concurrency: u32,
        policies: &Policies,
    ) -> anyhow::Result<Self> {
        let participants = Arc::new(Participants::default());
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let mut started = Vec::new();
        for _ in 0..workers {
            let store = match database.url() {
                Some(url) => saga_store::connect(&url).await?,
                None => memory.clone(),
            };
            let definition = policies.definition(|step| in_memory(*step, &participants))?;
            let worker = Worker::builder(store).register(definition);
            started.push(worker.concurrency_max(concurrency as usize + 16).start().await?);
        }
        Ok(Self { workers: started, participants })
    }

    pub(crate) async fn stop(self) {
        for worker in self.workers {
            worker.shutdown().await;
        }
    }
}

/// Starts one saga and waits for its end.
pub(crate) async fn place(clients: &[Client], number: u64) -> End {
    let client = &clients[(number % clients.len() as u64) as usize];
    let start = client.start(PLACE_ORDER, &order(number)).key(format!("order-{number}"));
    let saga = match start.await {
        Ok(saga) => saga,
        Err(error) => return End::NotStarted(error.to_string()),
    };
    match saga.verdict_within(PATIENCE).await {
        Ok(Some(Verdict::Completed)) => End::Completed,
        Ok(Some(Verdict::Compensated)) => End::Compensated,
        Ok(Some(Verdict::Stopped { .. })) => End::Stopped,
        Ok(None) => End::Alive("no verdict within ten minutes".to_owned()),
        Err(error) => End::Alive(error.to_string()),
    }
}

fn in_memory(step: OrderStep, participants: &Arc<Participants>) -> Step {
    let call = InMemory(participants.clone());
    match step.kind {
        StepKind::Compensatable => {
            Step::compensatable_calls::<Payload>(step.name, call.clone(), call)
        }
        StepKind::Pivot => Step::pivot_call::<Payload>(step.name, call),
        StepKind::Retriable => Step::retriable_call::<Payload>(step.name, call),
    }
}

/// An action or a compensation that is a function call.
#[derive(Clone)]
struct InMemory(Arc<Participants>);

impl Call for InMemory {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let participants = self.0.clone();
        Box::pin(async move {
            let order: Order = context.input.decode()?;
            let op = match context.op {
                Op::Action => saga_participant::Op::Action,
                Op::Compensation => saga_participant::Op::Compensation,
            };
            let saga_id = context.saga_id.to_string();
            let identity = CallIdentity { saga_id, step: context.step.to_string(), op };
            let call = participants.call(&order.order, &identity, context.op, context.attempt);
            match call.await {
                Some(Delivery::Answered(Answer::Processed)) => Ok(Payload::null()),
                Some(Delivery::Answered(Answer::Rejected)) => {
                    Err(Failure::rejected_for_good("the participant says no"))
                }
                Some(Delivery::Failed) => Err(Failure::transient("the participant failed")),
                Some(Delivery::HungUp) => Err(Failure::transient("the connection broke off")),
                None => Err(Failure::rejected("nobody knows this step")),
            }
        })
    }
}

//! What became of the orders: counts, times to verdict, and what should have been otherwise.

use std::time::Duration;

use super::api::{SagaView, Status};
use super::driver::Accepted;
use super::options::{Faults, Options};

/// An accepted order and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub accepted: Accepted,
    pub view: SagaView,
}

/// The sagas that ended, or live, in one status.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub status: Status,
    pub count: usize,
    /// Median time from start to verdict; nothing without a verdict.
    pub p50: Option<Duration>,
    /// 99th percentile of the same.
    pub p99: Option<Duration>,
}

/// The order in which a person reads them.
const SHOWN: [Status; 6] = [
    Status::Completed,
    Status::Compensated,
    Status::Stopped,
    Status::Stuck,
    Status::Running,
    Status::Compensating,
];

impl Ended {
    /// From start to verdict; nothing while the saga is alive.
    pub(crate) fn time_to_verdict(&self) -> Option<Duration> {
        let took = self.view.ended_at? - self.view.started_at;
        Some(Duration::from_micros(u64::try_from(took).unwrap_or(0)))
    }

    /// Whether the saga still moves or waits for a person.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.view.status, Status::Running | Status::Compensating | Status::Stuck)
    }

    /// What the saga took off the price: the output of its coupon step.
    pub(crate) fn discount_cents(&self) -> u64 {
        let step = self.view.steps.iter().find(|step| step.name == "redeem-coupon");
        step.and_then(|step| step.output.get("discount_cents")?.as_u64()).unwrap_or(0)
    }

    /// One line that names the order, its saga and why it waits.
    pub(crate) fn waiting(&self) -> String {
        let why = self.view.wait.as_ref().map_or("no reason given", |wait| wait.text.as_str());
        let accepted = &self.accepted;
        let status = self.view.status.word();
        format!("{} (saga {}) is {status}: {why}", accepted.planned.order.order, accepted.saga_id)
    }
}

/// Groups by status; those that nobody wants to see are left out when they are empty.
pub(crate) fn groups(ended: &[Ended]) -> Vec<Group> {
    let groups = SHOWN.iter().map(|&status| {
        let members: Vec<_> = ended.iter().filter(|one| one.view.status == status).collect();
        let times = times(members.iter().copied());
        let [p50, p99] = [50, 99].map(|percent| percentile(&times, percent));
        Group { status, count: members.len(), p50, p99 }
    });
    let always = [Status::Completed, Status::Compensated, Status::Stuck];
    groups.filter(|group| group.count > 0 || always.contains(&group.status)).collect()
}

/// How many sagas are in the status.
pub(crate) fn count(ended: &[Ended], status: Status) -> usize {
    ended.iter().filter(|one| one.view.status == status).count()
}

/// The times to verdict, shortest first.
pub(crate) fn times<'a>(ended: impl IntoIterator<Item = &'a Ended>) -> Vec<Duration> {
    let mut times: Vec<_> = ended.into_iter().filter_map(Ended::time_to_verdict).collect();
    times.sort_unstable();
    times
}

/// The nearest-rank percentile of sorted times: the smallest that `percent` of them do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// Verdicts that cannot be right, whatever the services did: an order that the business must refuse
/// was completed, or an order was refused although nothing went wrong.
pub(crate) fn impossible(ended: &[Ended], options: &Options) -> Vec<String> {
    let nothing_broke = options.kills == 0 && options.faults == Faults::Off;
    let fault = |one: &Ended| {
        let planned = &one.accepted.planned;
        match (planned.business.refusal(), one.view.status) {
            (Some(why), Status::Completed) => {
                Some(format!("{} was completed in spite of: {why}", planned.order.order))
            }
            (None, Status::Compensated) if nothing_broke => {
                Some(format!("{} was compensated although nothing broke", planned.order.order))
            }
            _ => None,
        }
    };
    ended.iter().filter_map(fault).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::options::{Definition, Store};
    use super::super::plan;
    use super::*;

    /// Order `index` of a plan, ended in `status` after `took_ms` milliseconds.
    pub(crate) fn ended(index: usize, status: Status, took_ms: i64) -> Ended {
        let planned = plan::orders(1, 40).swap_remove(index);
        let discount = if planned.order.coupon.is_some() { 500 } else { 0 };
        let steps = serde_json::json!([
            {"name": "redeem-coupon", "state": "processed", "output": {"discount_cents": discount}}
        ]);
        let view = SagaView {
            id: format!("saga-{index}"),
            status,
            started_at: 1_000_000,
            ended_at: (took_ms >= 0).then_some(1_000_000 + took_ms * 1_000),
            wait: None,
            steps: serde_json::from_value(steps).unwrap(),
        };
        Ended { accepted: Accepted { planned, saga_id: format!("saga-{index}") }, view }
    }

    fn options(kills: u32, faults: Faults) -> Options {
        Options {
            orders: 40,
            seed: 1,
            kills,
            faults,
            store: Store::Sqlite,
            postgres_url: None,
            definition: Definition::Rust,
            port: None,
            workers: 1,
            keep: false,
            json: false,
            patience: 1,
        }
    }

    /// The first order of the plan that the business must refuse, and the first it can fulfil.
    fn refused_and_fulfillable() -> (usize, usize) {
        let plan = plan::orders(1, 40);
        let first = |refused| {
            plan.iter().position(|planned| planned.business.refusal().is_some() == refused).unwrap()
        };
        (first(true), first(false))
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&times[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn sagas_are_grouped_by_status_and_the_living_have_no_time() {
        let all = [
            ended(0, Status::Completed, 10),
            ended(1, Status::Completed, 30),
            ended(2, Status::Running, -1),
        ];
        let groups = groups(&all);
        let completed = Group {
            status: Status::Completed,
            count: 2,
            p50: Some(Duration::from_millis(10)),
            p99: Some(Duration::from_millis(30)),
        };
        assert_eq!(groups[0], completed);
        assert!(groups.iter().any(|group| group.status == Status::Running && group.p50.is_none()));
        assert!(!groups.iter().any(|group| group.status == Status::Stopped));
    }

    #[test]
    fn a_completed_order_that_had_to_be_refused_is_a_fault() {
        let (refused, fulfillable) = refused_and_fulfillable();
        let all = [ended(refused, Status::Completed, 1), ended(fulfillable, Status::Completed, 1)];
        let faults = impossible(&all, &options(5, Faults::Wild));
        assert!(matches!(&faults[..], [one] if one.contains("in spite of")), "{faults:?}");
    }

    #[test]
    fn a_refused_order_is_a_fault_only_when_nothing_broke() {
        let (_, fulfillable) = refused_and_fulfillable();
        let all = [ended(fulfillable, Status::Compensated, 1)];
        assert_eq!(impossible(&all, &options(0, Faults::Off)).len(), 1);
        assert!(impossible(&all, &options(1, Faults::Off)).is_empty());
        assert!(impossible(&all, &options(0, Faults::Mild)).is_empty());
    }

    #[test]
    fn a_living_saga_is_named_with_its_reason_to_wait() {
        let mut stuck = ended(3, Status::Stuck, -1);
        stuck.view.wait = Some(super::super::api::Wait { text: "stuck at points".to_owned() });
        assert!(stuck.is_alive());
        assert_eq!(stuck.waiting(), "order-3 (saga saga-3) is stuck: stuck at points");
    }
}

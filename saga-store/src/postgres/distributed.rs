//! For tables spread over machines by bucket: every statement that changes something stays within
//! one bucket, named as a constant. What has to be found anywhere is looked for without a lock, and
//! taken by comparing and setting.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{Claim, StoreError};
use saga_core::{DefinitionRef, SagaId, WorkerId};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{self, FORGOTTEN_ROWS_MAX, SagaColumns, micros};

/// Items that may share a statement.
pub(super) struct Lot<'a, T: Clone> {
    /// The bucket of all of them, when it has to be one.
    pub(super) bucket: Option<i32>,
    pub(super) items: Cow<'a, [T]>,
    /// Where each of them stands in the whole batch; empty when they are the whole batch.
    places: Vec<usize>,
}

impl<T: Clone> Lot<'_, T> {
    /// The place in the whole batch of the item that is number `nth` of the lot, from 1 on.
    pub(super) fn place(&self, nth: i64) -> Option<usize> {
        let nth = usize::try_from(nth - 1).ok()?;
        if self.places.is_empty() { Some(nth) } else { self.places.get(nth).copied() }
    }
}

/// A batch as it is sent: as a whole, or on a distributed database bucket by bucket.
pub(super) fn lots<T: Clone>(
    distributed: bool,
    items: &[T],
    id: impl Fn(&T) -> SagaId,
) -> Vec<Lot<'_, T>> {
    if !distributed {
        return vec![Lot { bucket: None, items: Cow::Borrowed(items), places: Vec::new() }];
    }
    let mut places: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        places.entry(id(item).bucket().number()).or_default().push(place);
    }
    let lot = |(bucket, places): (i32, Vec<usize>)| {
        let items = places.iter().map(|place| items[*place].clone()).collect();
        Lot { bucket: Some(bucket), items: Cow::Owned(items), places }
    };
    places.into_iter().map(lot).collect()
}

/// A saga that may be claimed, as it was seen.
#[derive(Clone)]
struct Seen {
    id: Vec<u8>,
    epoch: i64,
    owner: Option<Vec<u8>>,
}

type SeenColumns = (Vec<u8>, i64, Option<Vec<u8>>);

impl PostgresStore {
    /// Looks for what may be claimed, then claims it bucket by bucket. When one of the claims
    /// fails its caller is told so, and finds what the others took among what it owns.
    pub(super) async fn claim_by_bucket(
        &self,
        claim: &Claim,
    ) -> Result<Vec<SagaColumns>, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let seen = self.lanes.run(Look { claim: claim.clone(), turn }).await?;
        let mut buckets: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            let bucket = row::saga_id("saga", &seen.id)?.bucket().number();
            buckets.entry(bucket).or_default().push(seen);
        }
        let mut claimed = Vec::new();
        for (bucket, seen) in buckets {
            let take = Take { bucket, worker: claim.worker, seen };
            claimed.extend(self.lanes.run(take).await?);
        }
        Ok(claimed)
    }

    pub(super) async fn retire_by_bucket(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.lanes.run(HandBack { worker }).await
    }

    pub(super) async fn forget_by_bucket(
        &self,
        age: Duration,
        limit: u32,
    ) -> Result<u32, StoreError> {
        let mut buckets: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
        for id in self.retention.run(Forgettable { age, limit }).await? {
            let bucket = row::saga_id("saga", &id)?.bucket().number();
            buckets.entry(bucket).or_default().push(id);
        }
        let mut forgotten = 0;
        for (bucket, ids) in buckets {
            forgotten += self.retention.run(ForgetIn { bucket, ids, age }).await?;
        }
        Ok(u32::try_from(forgotten).unwrap_or(limit))
    }
}

/// Looks for what may be claimed: first what was lost, then what is due.
struct Look {
    claim: Claim,
    turn: usize,
}

#[async_trait]
impl Work for Look {
    type Outcome = Vec<Seen>;

    fn what(&self) -> String {
        format!("looking for sagas that worker {} may claim", self.claim.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<Seen>, Error> {
        let Claim { worker, definitions, limit } = &self.claim;
        let alive = live_leases(&mut *db).await?;
        if !alive.iter().any(|id| id[..] == worker.to_bytes()) {
            return Ok(Vec::new());
        }
        let limit = *limit as usize;
        let mut seen = lost(&mut *db, definitions, alive, limit).await?;
        let (later, first) = definitions.split_at(self.turn % definitions.len().max(1));
        for definition in first.iter().chain(later) {
            let room = limit - seen.len();
            if room > 0 {
                seen.extend(due(&mut *db, definition, room).await?);
            }
        }
        Ok(seen)
    }
}

async fn live_leases(db: &mut PgConnection) -> Result<Vec<Vec<u8>>, Error> {
    sqlx::query_scalar(include_str!("distributed/live_leases.sql")).fetch_all(db).await
}

/// What belongs to workers without a live lease. A worker may have enlisted after the leases were
/// read, so those of the owners found are read again: a lease that was lost never comes back.
async fn lost(
    db: &mut PgConnection,
    definitions: &[DefinitionRef],
    alive: Vec<Vec<u8>>,
    limit: usize,
) -> Result<Vec<Seen>, Error> {
    let column = |of: fn(&DefinitionRef) -> i64| definitions.iter().map(of).collect::<Vec<_>>();
    let names: Vec<_> = definitions.iter().map(|known| known.name.clone()).collect();
    let digests: Vec<_> =
        definitions.iter().map(|known| known.digest.as_bytes().to_vec()).collect();
    let found: Vec<SeenColumns> = sqlx::query_as(include_str!("distributed/claimable_lost.sql"))
        .bind(alive)
        .bind(names)
        .bind(column(|known| i64::from(known.version)))
        .bind(digests)
        .bind(row::integer(limit as u64))
        .fetch_all(&mut *db)
        .await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let alive = live_leases(db).await?;
    let dead = |owner: &Vec<u8>| !alive.contains(owner);
    Ok(found.into_iter().map(seen).filter(|seen| seen.owner.as_ref().is_some_and(dead)).collect())
}

async fn due(
    db: &mut PgConnection,
    definition: &DefinitionRef,
    limit: usize,
) -> Result<Vec<Seen>, Error> {
    let found: Vec<SeenColumns> = sqlx::query_as(include_str!("distributed/claimable_due.sql"))
        .bind(&definition.name)
        .bind(i64::from(definition.version))
        .bind(&definition.digest.as_bytes()[..])
        .bind(row::integer(limit as u64))
        .fetch_all(db)
        .await?;
    Ok(found.into_iter().map(seen).collect())
}

fn seen((id, epoch, owner): SeenColumns) -> Seen {
    Seen { id, epoch, owner }
}

/// Claims what still stands as it was seen, in one bucket.
struct Take {
    bucket: i32,
    worker: WorkerId,
    seen: Vec<Seen>,
}

#[async_trait]
impl Work for Take {
    type Outcome = Vec<SagaColumns>;

    fn what(&self) -> String {
        format!("claiming sagas for worker {}", self.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<SagaColumns>, Error> {
        let ids: Vec<_> = self.seen.iter().map(|seen| seen.id.clone()).collect();
        let epochs: Vec<_> = self.seen.iter().map(|seen| seen.epoch).collect();
        let owners: Vec<_> = self.seen.iter().map(|seen| seen.owner.clone()).collect();
        sqlx::query_as(include_str!("distributed/claim.sql"))
            .bind(self.bucket)
            .bind(&self.worker.to_bytes()[..])
            .bind(ids)
            .bind(epochs)
            .bind(owners)
            .fetch_all(db)
            .await
    }

    /// What an earlier run may have claimed would be forgotten; the caller looks for it instead.
    fn repeatable(&self) -> bool {
        false
    }
}

/// Ends a lease, after which its sagas are anybody's, and hands them back.
struct HandBack {
    worker: WorkerId,
}

#[async_trait]
impl Work for HandBack {
    type Outcome = ();

    fn what(&self) -> String {
        format!("retiring worker {}", self.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let worker = self.worker.to_bytes();
        sqlx::query(include_str!("distributed/end_lease.sql"))
            .bind(&worker[..])
            .execute(&mut *db)
            .await?;
        let buckets: Vec<i32> = sqlx::query_scalar(include_str!("distributed/buckets_owned.sql"))
            .bind(&worker[..])
            .fetch_all(&mut *db)
            .await?;
        for bucket in buckets {
            sqlx::query(include_str!("distributed/hand_back.sql"))
                .bind(bucket)
                .bind(&worker[..])
                .execute(&mut *db)
                .await?;
        }
        Ok(())
    }
}

/// Looks for what may be forgotten. Long logs leave in smaller numbers.
struct Forgettable {
    age: Duration,
    limit: u32,
}

#[async_trait]
impl Work for Forgettable {
    type Outcome = Vec<Vec<u8>>;

    fn what(&self) -> String {
        "looking for sagas to forget".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<Vec<u8>>, Error> {
        let found: Vec<(Vec<u8>, i64)> =
            sqlx::query_as(include_str!("distributed/forgettable.sql"))
                .bind(micros(self.age))
                .bind(i64::from(self.limit))
                .fetch_all(db)
                .await?;
        let mut rows = 0;
        let few = found.into_iter().take_while(|(_, seq)| {
            let before = rows;
            rows += seq;
            before < FORGOTTEN_ROWS_MAX
        });
        Ok(few.map(|(id, _)| id).collect())
    }
}

struct ForgetIn {
    bucket: i32,
    ids: Vec<Vec<u8>>,
    age: Duration,
}

#[async_trait]
impl Work for ForgetIn {
    type Outcome = i64;

    fn what(&self) -> String {
        format!("forgetting ended sagas of bucket {}", self.bucket)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<i64, Error> {
        let newest: Option<i64> = sqlx::query_scalar(include_str!("distributed/forget_newest.sql"))
            .bind(self.bucket)
            .bind(self.ids.clone())
            .fetch_one(&mut *db)
            .await?;
        sqlx::query(include_str!("distributed/forget_mark.sql"))
            .bind(newest)
            .execute(&mut *db)
            .await?;
        sqlx::query_scalar(include_str!("distributed/forget.sql"))
            .bind(self.bucket)
            .bind(self.ids.clone())
            .bind(micros(self.age))
            .fetch_one(db)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::Bucket;

    fn ids(buckets: &[&str]) -> Vec<SagaId> {
        let id = |(n, key): (usize, &&str)| SagaId::new(n as u64, 0, Bucket::of(key, 256));
        buckets.iter().enumerate().map(id).collect()
    }

    #[test]
    fn a_batch_goes_as_a_whole_to_one_server() {
        let items = ids(&["a", "b", "a"]);
        let lots = lots(false, &items, |id| *id);
        assert_eq!((lots.len(), &lots[0].items[..]), (1, &items[..]));
        assert_eq!((lots[0].bucket, lots[0].place(3)), (None, Some(2)));
    }

    #[test]
    fn a_batch_goes_bucket_by_bucket_to_a_distributed_database_and_each_item_keeps_its_place() {
        let items = ids(&["a", "b", "a", "c", "b"]);
        let lots = lots(true, &items, |id| *id);
        assert_eq!(lots.len(), 3);
        let mut places = Vec::new();
        for lot in &lots {
            for (nth, item) in (1..).zip(lot.items.iter()) {
                assert_eq!(lot.bucket, Some(item.bucket().number()));
                let place = lot.place(nth).expect("it is in the lot");
                assert_eq!(items[place], *item);
                places.push(place);
            }
            assert_eq!(lot.place(lot.items.len() as i64 + 1), None);
        }
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4]);
    }
}

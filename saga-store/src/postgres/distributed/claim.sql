-- Takes sagas of bucket $1 that still stand as they were seen: whoever else takes one first raises
-- its epoch.
UPDATE saga
SET owner = $2, epoch = saga.epoch + 1, claims = claims + 1
FROM unnest($3::bytea[], $4::int8[], $5::bytea[]) AS seen (id, epoch, owner)
WHERE
    saga.bucket = $1
    AND saga.id = seen.id
    AND saga.epoch = seen.epoch
    AND saga.owner IS NOT DISTINCT FROM seen.owner
RETURNING saga.id, saga.name, saga.version, saga.digest, saga.key, saga.seq, saga.epoch, saga.owner, saga.claims, saga.started_at, saga.status, saga.next_wake_at, saga.wait, saga.ended_at

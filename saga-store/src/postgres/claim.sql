-- Takes what is due and owned by nobody, and what workers without a live lease own; the owners are
-- found by leaping through the index from one to the next. Rows that another claim holds are passed
-- over; what is taken in the end is decided by the conditions on the locked rows.
WITH RECURSIVE owners (id) AS (
    (SELECT owner FROM saga WHERE owner IS NOT NULL ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT owner FROM saga WHERE owner > owners.id ORDER BY owner LIMIT 1)
    FROM owners
    WHERE owners.id IS NOT NULL
),
dead AS (
    SELECT owners.id
    FROM owners
    WHERE
        owners.id IS NOT NULL
        AND NOT EXISTS (
            SELECT 1
            FROM saga_worker
            WHERE saga_worker.id = owners.id AND saga_worker.lease_until > (extract(epoch FROM now()) * 1000000)::int8
        )
),
known AS (
    SELECT * FROM unnest($2::text[], $3::int8[], $4::bytea[]) AS known (name, version, digest)
),
lost AS (
    SELECT found.bucket, found.id
    FROM dead
    CROSS JOIN LATERAL (
        SELECT saga.bucket, saga.id
        FROM saga
        INNER JOIN known
            ON saga.name = known.name AND saga.version = known.version AND saga.digest = known.digest
        WHERE saga.owner = dead.id
        LIMIT $5
        FOR UPDATE OF saga SKIP LOCKED
    ) AS found
),
due AS (
    SELECT
        found.bucket, found.id,
        row_number() OVER (PARTITION BY known.name, known.version ORDER BY found.next_wake_at) AS rank
    FROM known
    CROSS JOIN LATERAL (
        SELECT saga.bucket, saga.id, saga.next_wake_at
        FROM saga
        WHERE
            saga.name = known.name
            AND saga.version = known.version
            AND saga.digest = known.digest
            AND saga.owner IS NULL
            AND saga.next_wake_at <= (extract(epoch FROM now()) * 1000000)::int8
        ORDER BY saga.next_wake_at
        LIMIT $5
        FOR UPDATE SKIP LOCKED
    ) AS found
),
taken AS (
    -- In turns from each definition, so that one with much due does not keep another waiting.
    SELECT found.bucket, found.id
    FROM (SELECT bucket, id, 0 AS rank FROM lost UNION ALL SELECT bucket, id, rank FROM due) AS found
    ORDER BY found.rank
    LIMIT $5
)
UPDATE saga
SET owner = $1, epoch = epoch + 1, claims = claims + 1
FROM taken
WHERE
    saga.bucket = taken.bucket
    AND saga.id = taken.id
    AND EXISTS (
        SELECT 1 FROM saga_worker WHERE saga_worker.id = $1 AND saga_worker.lease_until > (extract(epoch FROM now()) * 1000000)::int8
    )
RETURNING saga.id, saga.name, saga.version, saga.digest, saga.key, saga.seq, saga.epoch, saga.owner, saga.claims, saga.started_at, saga.status, saga.next_wake_at, saga.wait, saga.ended_at

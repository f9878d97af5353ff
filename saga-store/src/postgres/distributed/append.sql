-- Appends to sagas of one bucket, $1, each with its own conditions, as in the statement for many
-- buckets.
WITH given AS (
    SELECT *
    FROM unnest(
        $2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::text[], $8::bytea[],
        $9::text[], $10::int8[], $11::text[], $12::int8[], $13::bool[]
    ) WITH ORDINALITY AS given (
        id, owner, epoch, seq, at, body, digest,
        status, next_wake_at, wait, ended_at, release, nth
    )
),
moved AS (
    UPDATE saga
    SET
        seq = given.seq,
        claims = 0,
        status = given.status,
        next_wake_at = CASE
            WHEN given.release AND given.ended_at IS NULL AND saga.unanswered > 0
                THEN (extract(epoch FROM now()) * 1000000)::int8
            ELSE given.next_wake_at
        END,
        wait = given.wait,
        ended_at = given.ended_at,
        owner = CASE WHEN given.release THEN NULL ELSE saga.owner END
    FROM given
    WHERE
        saga.bucket = $1
        AND saga.id = given.id
        AND saga.owner IS NOT DISTINCT FROM given.owner
        AND saga.epoch = given.epoch
        AND saga.seq = given.seq - 1
    RETURNING saga.id, saga.seq, given.epoch, given.at, given.body, given.digest, given.status,
        given.nth
),
logged AS (
    INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest, status)
    SELECT $1, id, seq, epoch, at, body, digest, status FROM moved
)
SELECT nth FROM moved

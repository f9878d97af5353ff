-- Many appends in one statement, each with its own conditions: the state row moves on if the saga
-- stands at the position before and its owner is still the owner, and only then the log row is
-- added. A saga that is let go of alive although a command waits is due at once; the count of
-- unanswered commands is on the row itself, so that a command which arrives at the same moment is
-- seen by whichever of the two comes second. The owner is compared in a way that no index can serve:
-- on a young table the planner would otherwise go through all that the owner has for each append.
WITH given AS (
    SELECT *
    FROM unnest(
        $1::int4[], $2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::text[], $8::bytea[],
        $9::text[], $10::int8[], $11::text[], $12::int8[], $13::bool[]
    ) WITH ORDINALITY AS given (
        bucket, id, owner, epoch, seq, at, body, digest,
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
        saga.bucket = given.bucket
        AND saga.id = given.id
        AND saga.owner IS NOT DISTINCT FROM given.owner
        AND saga.epoch = given.epoch
        AND saga.seq = given.seq - 1
    RETURNING
        saga.bucket, saga.id, saga.seq, given.epoch, given.at, given.body, given.digest, given.status,
        given.nth
),
logged AS (
    INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest, status)
    SELECT bucket, id, seq, epoch, at, body, digest, status FROM moved
)
SELECT nth FROM moved

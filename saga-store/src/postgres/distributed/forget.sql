-- Deletes sagas of bucket $1 that ended longer than $3 microseconds ago, with what belongs to
-- them; for the rest see the statement for many buckets.
WITH leaving AS (
    SELECT saga.id
    FROM saga
    INNER JOIN saga AS seen ON seen.bucket = saga.bucket AND seen.id = saga.id
    WHERE
        saga.bucket = $1
        AND seen.bucket = $1
        AND saga.id = ANY($2::bytea[])
        AND saga.ended_at < (extract(epoch FROM now()) * 1000000)::int8 - $3
        AND saga.unanswered = seen.unanswered
    FOR UPDATE OF saga SKIP LOCKED
),
logs AS (
    DELETE FROM saga_log
    USING leaving
    WHERE saga_log.bucket = $1 AND saga_log.saga_id = leaving.id
),
commands AS (
    DELETE FROM saga_command
    USING leaving
    WHERE saga_command.bucket = $1 AND saga_command.saga_id = leaving.id
),
forgotten AS (
    DELETE FROM saga
    USING leaving
    WHERE saga.bucket = $1 AND saga.id = leaving.id
    RETURNING 1
)
SELECT count(*) FROM forgotten

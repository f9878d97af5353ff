-- Deletes the sagas that ended longer than $1 microseconds ago, at most $2 of them and about $3
-- rows of their logs, in one statement. Rows that somebody else holds are passed over. A command
-- that arrived after this statement began is not seen by it and would be left behind alone, so a
-- saga whose count of unanswered commands has moved since has to wait for the next time.
WITH old AS (
    SELECT saga.bucket, saga.id, saga.seq, saga.ended_at
    FROM saga
    INNER JOIN saga AS seen ON seen.bucket = saga.bucket AND seen.id = saga.id
    WHERE
        saga.ended_at < (extract(epoch FROM now()) * 1000000)::int8 - $1
        AND saga.unanswered = seen.unanswered
    ORDER BY saga.ended_at
    LIMIT $2
    FOR UPDATE OF saga SKIP LOCKED
),
leaving AS (
    SELECT bucket, id
    FROM (
        SELECT bucket, id, sum(seq) OVER (ORDER BY ended_at, bucket, id) - seq AS rows_before
        FROM old
    ) AS counted
    WHERE rows_before < $3
),
logs AS (
    DELETE FROM saga_log
    USING leaving
    WHERE saga_log.bucket = leaving.bucket AND saga_log.saga_id = leaving.id
    RETURNING saga_log.xid
),
mark AS (
    -- Up to where the feed has lost rows.
    UPDATE saga_meta
    SET value = lost.xid
    FROM (SELECT max(xid) AS xid FROM logs) AS lost
    WHERE saga_meta.name = 'feed_forgotten' AND saga_meta.value < lost.xid
),
commands AS (
    DELETE FROM saga_command
    USING leaving
    WHERE saga_command.bucket = leaving.bucket AND saga_command.saga_id = leaving.id
),
forgotten AS (
    DELETE FROM saga
    USING leaving
    WHERE saga.bucket = leaving.bucket AND saga.id = leaving.id
    RETURNING 1
)
SELECT count(*) FROM forgotten

-- What follows the place ($1, $2, $3) in the feed, oldest first, at most $4 rows. Transactions commit
-- in another order than that of their numbers, so nothing is shown from the number of the oldest
-- one on that is under way. Beside each row, and alone where there is none, stands what is to be
-- known of the feed, from the same snapshot: the identity of the database and of its past, up to
-- where retention has deleted rows, the first number that is not shown, the first one that was not
-- given yet, and since when the oldest row that is held back has been there.
WITH state AS MATERIALIZED (
    SELECT
        (SELECT system_identifier FROM pg_control_system()) AS system,
        left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
        (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database,
        (SELECT value FROM saga_meta WHERE name = 'feed_forgotten') AS forgotten,
        moved.value + pg_snapshot_xmin(pg_current_snapshot())::text::int8 AS horizon,
        moved.value + pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS ahead
    FROM saga_meta AS moved
    WHERE moved.name = 'feed_offset'
)
SELECT
    state.system, state.timeline, state.database, state.forgotten, state.horizon, state.ahead,
    (extract(epoch FROM now()) * 1000000)::int8 - (
        SELECT held.at
        FROM saga_log AS held
        WHERE held.xid > 0 AND held.xid >= state.horizon
        ORDER BY held.xid
        LIMIT 1
    ) AS lag,
    entry.xid, entry.saga_id, entry.name, entry.version, entry.definition, entry.key, entry.status,
    entry.seq, entry.epoch, entry.at, entry.body, entry.digest
FROM state
LEFT JOIN LATERAL (
    SELECT
        saga_log.xid, saga_log.saga_id, saga.name, saga.version, saga.digest AS definition, saga.key,
        coalesce(saga_log.status, saga.status) AS status,
        saga_log.seq, saga_log.epoch, saga_log.at, saga_log.body, saga_log.digest
    FROM saga_log
    INNER JOIN saga ON saga.bucket = saga_log.bucket AND saga.id = saga_log.saga_id
    WHERE
        saga_log.xid > 0
        AND saga_log.xid >= $1
        AND saga_log.xid < state.horizon
        AND (saga_log.xid, saga_log.saga_id, saga_log.seq) > ($1, $2, $3)
    ORDER BY saga_log.xid, saga_log.saga_id, saga_log.seq
    LIMIT $4
) AS entry ON true
ORDER BY entry.xid, entry.saga_id, entry.seq

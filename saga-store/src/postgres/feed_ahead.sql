-- Only here: SQLite numbers the rows of the log itself.
-- By how much the log is ahead of the numbers that this server has given to transactions; more than
-- nothing only where it was brought from another server.
SELECT
    coalesce((SELECT max(xid) FROM saga_log WHERE xid > 0), 0)
    - (moved.value + pg_snapshot_xmax(pg_current_snapshot())::text::int8 - 1) AS ahead,
    moved.value
FROM saga_meta AS moved
WHERE moved.name = 'feed_offset'

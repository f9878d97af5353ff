-- Only here: PostgreSQL does it in append.sql and start.sql.
-- A position is never given twice, even if the newest row has left.
INSERT INTO saga_log (position, bucket, saga_id, seq, epoch, at, body, digest, status)
VALUES (
    1 + max(
        coalesce((SELECT max(position) FROM saga_log), 0),
        (SELECT value FROM saga_meta WHERE name = 'feed_forgotten')
    ),
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
)

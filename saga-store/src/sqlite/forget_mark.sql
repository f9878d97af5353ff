-- Only here: PostgreSQL does it in forget.sql.
-- Remembers up to where the feed has lost rows, before they leave.
UPDATE saga_meta
SET value = max(
    value,
    coalesce(
        (
            SELECT max(position)
            FROM saga_log
            WHERE bucket = ?1 AND saga_id IN (SELECT unhex(value) FROM json_each(?2))
        ),
        0
    )
)
WHERE name = 'feed_forgotten'

-- Only here: PostgreSQL reads it with the rows, in feed.sql.
-- The identity of the database, up to where retention has deleted rows, the last position that was
-- given, and which row is at position ?1.
SELECT
    (SELECT value FROM saga_meta WHERE name = 'feed_lineage'),
    (SELECT value FROM saga_meta WHERE name = 'feed_forgotten'),
    coalesce((SELECT max(position) FROM saga_log), 0),
    (SELECT saga_id FROM saga_log WHERE position = ?1),
    (SELECT seq FROM saga_log WHERE position = ?1)

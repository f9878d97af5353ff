-- Only here: PostgreSQL finds and deletes in one statement, forget.sql.
-- Sagas that ended longer than ?2 microseconds ago, the earliest first, and the length of each log.
SELECT id, seq
FROM saga INDEXED BY saga_ended
WHERE bucket = ?1 AND ended_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ?2
ORDER BY ended_at
LIMIT ?3

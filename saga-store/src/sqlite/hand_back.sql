-- Only here: PostgreSQL does it in retire.sql.
-- The index is named, because SQLite cannot know that all sagas are in one bucket.
UPDATE saga INDEXED BY saga_owner
SET owner = NULL, claims = 0, next_wake_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE bucket = ?1 AND owner = ?2

-- Only here: SQLite numbers the rows of the log itself.
UPDATE saga_meta
SET value = $1
WHERE name = 'feed_offset'

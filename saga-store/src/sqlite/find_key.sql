-- A key has few sagas, one for each definition. The index is named, because SQLite cannot know
-- that all sagas are in one bucket.
SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga INDEXED BY saga_key
WHERE bucket = ?1 AND id < ?2 AND (?3 IS NULL OR name = ?3) AND key = ?5

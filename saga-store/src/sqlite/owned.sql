-- The index is named, because SQLite cannot know that all sagas are in one bucket.
SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga INDEXED BY saga_owner
WHERE bucket = ?1 AND owner = ?2

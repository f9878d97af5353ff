-- The index is named, because SQLite would rather walk by id through all that is not wanted.
SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga INDEXED BY saga_status
WHERE bucket = ?1 AND id < ?2 AND (?3 IS NULL OR name = ?3) AND status = ?5
ORDER BY id DESC
LIMIT ?4

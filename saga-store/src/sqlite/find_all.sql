-- Only here: PostgreSQL merges the pages of all statuses, because its ids are spread over buckets.
SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga
WHERE bucket = ?1 AND id < ?2 AND (?3 IS NULL OR name = ?3)
ORDER BY id DESC
LIMIT ?4

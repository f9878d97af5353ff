SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga
WHERE id < $1 AND ($2::text IS NULL OR name = $2) AND status = $4
ORDER BY id DESC
LIMIT $3

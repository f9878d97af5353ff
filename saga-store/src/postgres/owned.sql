SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga
WHERE owner = $1
ORDER BY id

UPDATE saga
SET owner = ?2, epoch = epoch + 1, claims = claims + 1
WHERE bucket = ?1 AND id IN (SELECT unhex(value) FROM json_each(?3))
RETURNING id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at

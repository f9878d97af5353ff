-- Two pages of one status, to be merged: of what nobody owns, in the order of its index, and of
-- what workers own, of which there is little.
(
    SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
    FROM saga
    WHERE owner IS NULL AND status = $4 AND id < $1 AND ($2::text IS NULL OR name = $2)
    ORDER BY id DESC
    LIMIT $3
)
UNION ALL
(
    SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
    FROM saga
    WHERE owner IS NOT NULL AND status = $4 AND id < $1 AND ($2::text IS NULL OR name = $2)
    ORDER BY id DESC
    LIMIT $3
)

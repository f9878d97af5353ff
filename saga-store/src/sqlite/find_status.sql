-- Two pages of one status, to be merged: of what nobody owns, in the order of its index, and of
-- what workers own, of which there is little. The indexes are named, because SQLite would rather
-- walk by id through all that is not wanted.
SELECT *
FROM (
    SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
    FROM saga INDEXED BY saga_status
    WHERE bucket = ?1 AND owner IS NULL AND status = ?5 AND id < ?2 AND (?3 IS NULL OR name = ?3)
    ORDER BY id DESC
    LIMIT ?4
)
UNION ALL
SELECT id, name, version, digest, key, seq, epoch, owner, claims, started_at, status, next_wake_at, wait, ended_at
FROM saga INDEXED BY saga_owner
WHERE bucket = ?1 AND owner IS NOT NULL AND status = ?5 AND id < ?2 AND (?3 IS NULL OR name = ?3)

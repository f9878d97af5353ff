-- Only here: PostgreSQL finds and claims in one statement, claim.sql.
-- Sagas of one definition that are due and owned by nobody, the longest due first.
SELECT id
FROM saga
WHERE
    bucket = ?1
    AND name = ?2
    AND version = ?3
    AND digest = ?4
    AND owner IS NULL
    AND next_wake_at <= CAST(unixepoch('subsec') * 1000000 AS INTEGER)
ORDER BY next_wake_at
LIMIT ?5

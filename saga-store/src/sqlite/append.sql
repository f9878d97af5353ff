-- Moves the state row on, if the saga stands at the position before and its owner is still the
-- owner. When the saga is let go of (?10) alive although a command waits, it is due at once.
UPDATE saga
SET
    seq = ?5,
    claims = 0,
    status = ?6,
    next_wake_at = CASE
        WHEN ?10 AND ?9 IS NULL AND EXISTS (
            SELECT 1
            FROM saga_command
            WHERE bucket = ?1 AND saga_id = ?2 AND answered_at IS NULL
        ) THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
        ELSE ?7
    END,
    wait = ?8,
    ended_at = ?9,
    owner = CASE WHEN ?10 THEN NULL ELSE owner END
WHERE bucket = ?1 AND id = ?2 AND owner = ?3 AND epoch = ?4 AND seq = ?5 - 1

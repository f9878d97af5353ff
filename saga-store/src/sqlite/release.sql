UPDATE saga
SET
    owner = NULL,
    claims = 0,
    next_wake_at = CASE
        WHEN EXISTS (
            SELECT 1
            FROM saga_command
            WHERE bucket = ?1 AND saga_id = ?2 AND answered_at IS NULL
        ) THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
        ELSE ?5
    END
WHERE bucket = ?1 AND id = ?2 AND owner = ?3 AND epoch = ?4

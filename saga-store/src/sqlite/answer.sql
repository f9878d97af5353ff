UPDATE saga_command
SET answer = ?4, answered_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE
    bucket = ?1 AND saga_id = ?2 AND request_id = ?3 AND answered_at IS NULL
    AND (
        ?5 IS NULL
        OR EXISTS (SELECT 1 FROM saga WHERE bucket = ?1 AND id = ?2 AND owner = ?5 AND epoch = ?6)
    )

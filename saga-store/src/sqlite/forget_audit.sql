-- Deletes the entries made longer than ?2 microseconds ago, the oldest first and at most ?3.
DELETE FROM saga_audit
WHERE
    bucket = ?1
    AND (at, id) IN (
        SELECT at, id
        FROM saga_audit
        WHERE bucket = ?1 AND at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ?2
        ORDER BY at, id
        LIMIT ?3
    )

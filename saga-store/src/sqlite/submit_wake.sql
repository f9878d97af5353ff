UPDATE saga
SET next_wake_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE bucket = ?1 AND id = ?2 AND owner IS NULL AND ended_at IS NULL

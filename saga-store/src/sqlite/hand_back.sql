UPDATE saga
SET owner = NULL, claims = 0, next_wake_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE bucket = ?1 AND owner = ?2

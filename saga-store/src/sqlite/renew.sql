UPDATE saga_worker
SET lease_until = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + ?2
WHERE id = ?1 AND lease_until > CAST(unixepoch('subsec') * 1000000 AS INTEGER)

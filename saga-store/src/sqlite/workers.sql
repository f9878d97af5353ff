SELECT
    id, name, definitions, lease_until,
    lease_until <= CAST(unixepoch('subsec') * 1000000 AS INTEGER)
FROM saga_worker
ORDER BY id

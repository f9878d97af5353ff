DELETE FROM saga_worker
WHERE id = $1

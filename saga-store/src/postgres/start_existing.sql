-- The saga that a start ran into: the one with its key, else the one with its id.
SELECT id, input_digest
FROM saga
WHERE bucket = $1 AND ((key = $3 AND name = $4) OR id = $2)
ORDER BY CASE WHEN key = $3 AND name = $4 THEN 0 ELSE 1 END
LIMIT 1

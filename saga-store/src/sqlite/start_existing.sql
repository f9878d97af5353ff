-- The saga that a start ran into: the one with its key, else the one with its id.
SELECT id, input_digest
FROM (
    SELECT 1 AS choice, id, input_digest
    FROM saga
    WHERE bucket = ?1 AND key = ?3 AND name = ?4
    UNION ALL
    SELECT 2 AS choice, id, input_digest
    FROM saga
    WHERE bucket = ?1 AND id = ?2
)
ORDER BY choice
LIMIT 1

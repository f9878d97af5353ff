-- What nobody owns in the order of its index, and the little that workers own; to be added up.
SELECT status, count(*)
FROM saga INDEXED BY saga_status
WHERE bucket = ?1 AND owner IS NULL
GROUP BY status
UNION ALL
SELECT status, count(*)
FROM saga INDEXED BY saga_owner
WHERE bucket = ?1 AND owner IS NOT NULL
GROUP BY status

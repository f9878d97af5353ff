SELECT status, count(*)
FROM (
    SELECT status FROM saga INDEXED BY saga_status WHERE bucket = ?1 AND owner IS NULL
    UNION ALL
    SELECT status FROM saga INDEXED BY saga_owner WHERE bucket = ?1 AND owner IS NOT NULL
)
GROUP BY status

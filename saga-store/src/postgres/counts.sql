SELECT status, count(*)
FROM (
    SELECT status FROM saga WHERE owner IS NULL
    UNION ALL
    SELECT status FROM saga WHERE owner IS NOT NULL
) AS each_saga
GROUP BY status

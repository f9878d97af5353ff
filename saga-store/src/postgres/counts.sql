-- What nobody owns, by an index, and the little that workers own; to be added up.
SELECT status, count(*)
FROM saga
WHERE owner IS NULL
GROUP BY status
UNION ALL
SELECT status, count(*)
FROM saga
WHERE owner IS NOT NULL
GROUP BY status

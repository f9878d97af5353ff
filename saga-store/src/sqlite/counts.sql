SELECT status, count(*)
FROM saga
WHERE bucket = ?1
GROUP BY status

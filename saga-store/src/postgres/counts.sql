SELECT status, count(*)
FROM saga
GROUP BY status

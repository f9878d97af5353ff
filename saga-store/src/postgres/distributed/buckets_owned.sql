SELECT DISTINCT bucket
FROM saga
WHERE owner = $1

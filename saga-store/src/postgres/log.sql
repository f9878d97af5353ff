SELECT seq, epoch, at, body, digest
FROM saga_log
WHERE bucket = $1 AND saga_id = $2 AND seq > $3
ORDER BY seq
LIMIT $4

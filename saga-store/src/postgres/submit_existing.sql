SELECT body, answer
FROM saga_command
WHERE bucket = $1 AND saga_id = $2 AND request_id = $3

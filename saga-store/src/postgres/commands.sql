SELECT body
FROM saga_command
WHERE bucket = $1 AND saga_id = $2 AND answered_at IS NULL
ORDER BY submitted_at

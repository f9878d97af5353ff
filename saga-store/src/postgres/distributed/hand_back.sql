UPDATE saga
SET owner = NULL, claims = 0, next_wake_at = (extract(epoch FROM now()) * 1000000)::int8
WHERE bucket = $1 AND owner = $2

UPDATE saga
SET next_wake_at = (extract(epoch FROM now()) * 1000000)::int8
WHERE bucket = $1 AND id = $2 AND owner IS NULL AND ended_at IS NULL

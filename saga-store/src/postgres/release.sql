UPDATE saga
SET
    owner = NULL,
    claims = 0,
    next_wake_at = CASE WHEN unanswered > 0 THEN (extract(epoch FROM now()) * 1000000)::int8 ELSE $5 END
WHERE bucket = $1 AND id = $2 AND owner = $3 AND epoch = $4

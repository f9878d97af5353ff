-- Ends the lease and hands everything back in one statement.
WITH handed_back AS (
    UPDATE saga
    SET owner = NULL, claims = 0, next_wake_at = (extract(epoch FROM now()) * 1000000)::int8
    WHERE owner = $1
)
DELETE FROM saga_worker
WHERE id = $1

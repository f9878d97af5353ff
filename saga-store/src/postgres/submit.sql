-- Stores a command once, counts it on the saga's row, and makes a live saga without an owner due.
-- The row is locked and changed in any case: that makes this wait for an append that is about to
-- let go, and find nothing when retention has just deleted the saga.
WITH submitted AS (
    INSERT INTO saga_command (bucket, saga_id, request_id, body, submitted_at)
    SELECT
        saga.bucket, saga.id, $3, $4,
        greatest(
            (extract(epoch FROM now()) * 1000000)::int8,
            coalesce(
                (SELECT max(submitted_at) + 1 FROM saga_command WHERE bucket = $1 AND saga_id = $2),
                0
            )
        )
    FROM saga
    WHERE saga.bucket = $1 AND saga.id = $2
    FOR UPDATE
    ON CONFLICT DO NOTHING
    RETURNING 1
)
UPDATE saga
SET
    unanswered = unanswered + 1,
    next_wake_at = CASE
        WHEN owner IS NULL AND ended_at IS NULL THEN (extract(epoch FROM now()) * 1000000)::int8
        ELSE next_wake_at
    END
WHERE bucket = $1 AND id = $2 AND EXISTS (SELECT 1 FROM submitted)

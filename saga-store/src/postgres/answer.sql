-- The saga's row is locked first: whoever claims it waits, and after it this finds another owner.
WITH owned AS (
    SELECT 1
    FROM saga
    WHERE bucket = $1 AND id = $2 AND ($5::bytea IS NULL OR (owner = $5 AND epoch = $6))
    FOR UPDATE
),
answered AS (
    UPDATE saga_command
    SET answer = $4, answered_at = (extract(epoch FROM now()) * 1000000)::int8
    WHERE
        bucket = $1 AND saga_id = $2 AND request_id = $3 AND answered_at IS NULL
        AND EXISTS (SELECT 1 FROM owned)
    RETURNING 1
)
UPDATE saga
SET unanswered = unanswered - 1
WHERE bucket = $1 AND id = $2 AND EXISTS (SELECT 1 FROM answered)

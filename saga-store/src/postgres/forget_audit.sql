-- Deletes the entries made longer than $2 microseconds ago, the oldest first and at most $3. Rows that
-- somebody else holds are passed over.
WITH old AS (
    SELECT at, id
    FROM saga_audit
    WHERE bucket = $1 AND at < (extract(epoch FROM now()) * 1000000)::int8 - $2
    ORDER BY at, id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM saga_audit
USING old
WHERE saga_audit.bucket = $1 AND saga_audit.at = old.at AND saga_audit.id = old.id

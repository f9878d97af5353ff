-- Only here: round trips are what it saves, and SQLite has none.
-- As claim_guard.sql and select_guards.sql, for many calls at once and in the order given: the rows
-- that were not there, with no status, and those that were there before. A row that another
-- transaction held until its commit is in neither, for this statement has begun before it. The
-- limit, which no step reaches, keeps the planner from joining the whole table, which it would
-- where it takes the table for a small one.
WITH claimed AS (
    INSERT INTO saga_barrier (saga_id, step, op, status, body, recorded_at)
    SELECT saga_id, step, op, $4, '', $5
    FROM unnest($1::text[], $2::text[], $3::text[]) AS given (saga_id, step, op)
    ON CONFLICT (saga_id, step, op) DO NOTHING
    RETURNING saga_id, step, op
)
SELECT saga_id, step, op, NULL::int4 AS status, '' AS body
FROM claimed
UNION ALL
SELECT given.saga_id, given.step, guard.op, guard.status, guard.body
FROM (SELECT DISTINCT saga_id, step FROM unnest($1::text[], $2::text[]) AS given (saga_id, step)) AS given
CROSS JOIN LATERAL (
    SELECT op, status, body
    FROM saga_barrier
    WHERE saga_id = given.saga_id AND step = given.step
    LIMIT 3
) AS guard

-- Only here: a round trip for each row is what it saves, and SQLite has none.
-- As answer_guard.sql, for many rows at once. All of them are there, so nothing is inserted; an
-- update that joined the table could be planned as a walk through all of it.
INSERT INTO saga_barrier (saga_id, step, op, status, body, recorded_at)
SELECT saga_id, step, op, status, body, $6
FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::text[]) AS given (saga_id, step, op, status, body)
ON CONFLICT (saga_id, step, op) DO UPDATE SET status = EXCLUDED.status, body = EXCLUDED.body

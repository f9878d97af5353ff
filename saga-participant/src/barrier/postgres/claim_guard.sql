-- Where another transaction holds the row, this waits for its end: for a commit to do nothing, for a
-- rollback to insert.
INSERT INTO saga_barrier (saga_id, step, op, status, body, recorded_at)
VALUES ($1, $2, $3, $4, '', $5)
ON CONFLICT (saga_id, step, op) DO NOTHING

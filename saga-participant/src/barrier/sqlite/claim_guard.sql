INSERT INTO saga_barrier (saga_id, step, op, status, body, recorded_at)
VALUES (?1, ?2, ?3, ?4, '', ?5)
ON CONFLICT (saga_id, step, op) DO NOTHING

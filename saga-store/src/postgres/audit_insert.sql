INSERT INTO saga_audit (
    bucket, at, id, actor, role, remote, action, target, reason, request_id, detail, ended_at, status, problem
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (bucket, at, id) DO NOTHING

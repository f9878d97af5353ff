-- As audit.sql, of one action.
SELECT id, actor, role, remote, action, target, reason, request_id, detail, ended_at, status, problem
FROM saga_audit
WHERE bucket = $1 AND action = $6 AND at >= $2 AND (at, id) < ($3, $4)
ORDER BY at DESC, id DESC
LIMIT $5

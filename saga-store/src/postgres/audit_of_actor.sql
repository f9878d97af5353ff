-- As audit.sql, of one actor; of one action too, unless $7 is null.
SELECT id, actor, role, remote, action, target, reason, request_id, detail, ended_at, status, problem
FROM saga_audit
WHERE
    bucket = $1 AND actor = $6 AND at >= $2 AND (at, id) < ($3, $4)
    AND ($7::text IS NULL OR action = $7)
ORDER BY at DESC, id DESC
LIMIT $5

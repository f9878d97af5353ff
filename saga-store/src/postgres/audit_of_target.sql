-- As audit.sql, of one target; of one actor and one action too, unless $7 and $8 are null.
SELECT id, actor, role, remote, action, target, reason, request_id, detail, ended_at, status, problem
FROM saga_audit
WHERE
    bucket = $1 AND target = $6 AND at >= $2 AND (at, id) < ($3, $4)
    AND ($7::text IS NULL OR actor = $7)
    AND ($8::text IS NULL OR action = $8)
ORDER BY at DESC, id DESC
LIMIT $5

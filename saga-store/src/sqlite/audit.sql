-- Entries of the trail from time ?2 on and before (?3, ?4), newest first.
SELECT id, actor, role, remote, action, target, reason, request_id, detail, ended_at, status, problem
FROM saga_audit
WHERE bucket = ?1 AND at >= ?2 AND (at, id) < (?3, ?4)
ORDER BY at DESC, id DESC
LIMIT ?5

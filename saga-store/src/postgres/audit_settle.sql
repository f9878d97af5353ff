-- Only the first outcome counts.
UPDATE saga_audit SET ended_at = $4, status = $5, problem = $6
WHERE bucket = $1 AND at = $2 AND id = $3 AND status IS NULL

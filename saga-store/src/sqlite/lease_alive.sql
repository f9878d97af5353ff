-- Only here: PostgreSQL asks it in claim.sql.
SELECT EXISTS (
    SELECT 1
    FROM saga_worker
    WHERE id = ?1 AND lease_until > CAST(unixepoch('subsec') * 1000000 AS INTEGER)
)

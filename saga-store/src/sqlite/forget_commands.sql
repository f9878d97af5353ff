-- Only here: PostgreSQL does it in forget.sql.
DELETE FROM saga_command
WHERE bucket = ?1 AND saga_id IN (SELECT unhex(value) FROM json_each(?2))

-- Only here: SQLite numbers the rows of the log itself.
-- The number that rows carry from now on; what stands here for what is added is put in by the code.
ALTER TABLE saga_log ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::int8 + 0)

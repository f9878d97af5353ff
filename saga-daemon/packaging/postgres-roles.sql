-- Two roles for the daemon on PostgreSQL: saga_migrate owns the tables and changes them, saga_run works
-- with them and can neither change a table nor a row of the log.
--
-- As a superuser, once, in the database of the sagas:
--
--   CREATE ROLE saga_migrate LOGIN PASSWORD '..';
--   CREATE ROLE saga_run LOGIN PASSWORD '..';
--   CREATE SCHEMA saga AUTHORIZATION saga_migrate;
--   ALTER ROLE saga_migrate SET search_path = saga;
--   ALTER ROLE saga_run SET search_path = saga;
--
-- Then, now and after each `saga-worker migrate` of a new release, this file as saga_migrate:
--
--   saga-worker migrate --store postgres://saga_migrate@db.internal/saga
--   psql postgres://saga_migrate@db.internal/saga -f postgres-roles.sql
--
-- and the daemon as saga_run:
--
--   saga-worker serve --no-migrate --store postgres://saga_run@db.internal/saga

GRANT USAGE ON SCHEMA saga TO saga_run;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA saga TO saga_run;

-- Facts of the database itself, and which migrations have run.
REVOKE INSERT, UPDATE, DELETE ON saga_meta, saga_migration FROM saga_run;

-- The truth is appended to and never changed.
REVOKE UPDATE, DELETE ON saga_log FROM saga_run;

-- What was done is recorded and never changed; what became of it is added.
REVOKE UPDATE ON saga_audit FROM saga_run;
GRANT UPDATE (ended_at, status, problem) ON saga_audit TO saga_run;

-- With audit.retention = "forever", entries never leave; only then:
--   REVOKE DELETE ON saga_audit FROM saga_run;

-- Definitions stay on record.
REVOKE DELETE ON saga_definition FROM saga_run;

-- With worker.retention, whole sagas are deleted; only then:
--   GRANT DELETE ON saga_log TO saga_run;
--   GRANT UPDATE (value) ON saga_meta TO saga_run;

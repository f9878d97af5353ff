-- Only here: PostgreSQL does it in append.sql and start.sql.
INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)

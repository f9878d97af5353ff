-- The feed: the log of all sagas in the order in which their transactions may have committed. A
-- row carries the number of its transaction; what was there before carries none, and is not in the
-- feed. The default costs a writer nothing to name, so the previous release fills it in as well.
ALTER TABLE saga_log ADD COLUMN xid int8 NOT NULL DEFAULT 0;

ALTER TABLE saga_log ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::int8);

-- Where the saga stood after the row; rows of the previous release say nothing.
ALTER TABLE saga_log ADD COLUMN status text COLLATE "C";

-- Always grows at its end, where all rows of a transaction share an entry.
CREATE INDEX saga_log_feed ON saga_log (xid) WHERE xid > 0;

-- The highest number among the rows that retention has deleted; and what is added to the numbers of
-- this server's transactions since the database came from a server whose numbers were higher.
INSERT INTO saga_meta (name, value) VALUES ('feed_forgotten', 0), ('feed_offset', 0);

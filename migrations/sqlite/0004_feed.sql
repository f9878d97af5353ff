-- The feed: the log of all sagas in the order in which it was written. The number of a row becomes
-- a column, because SQLite is free to give other numbers to rows whose number is none.
CREATE TABLE saga_log_numbered (
    position INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,
    saga_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    digest BLOB NOT NULL,
    -- Where the saga stood after the row; rows of the previous release say nothing.
    status TEXT,
    UNIQUE (bucket, saga_id, seq)
) STRICT;

INSERT INTO saga_log_numbered (bucket, saga_id, seq, epoch, at, body, digest)
SELECT bucket, saga_id, seq, epoch, at, body, digest FROM saga_log ORDER BY rowid;

DROP TABLE saga_log;

ALTER TABLE saga_log_numbered RENAME TO saga_log;

-- The highest number among the rows that retention has deleted, below which none is given again;
-- and what tells this database from others.
INSERT INTO saga_meta (name, value)
VALUES ('feed_forgotten', 0), ('feed_lineage', random() & 0x7fffffffffffffff);

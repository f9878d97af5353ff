-- What people and programs have done through the API, or were refused: written before it is done,
-- and completed once with what became of it. All of it is in one bucket: there is little of it, it
-- is read in the order of time, and it leaves in that order.
CREATE TABLE saga_audit (
    bucket INTEGER NOT NULL,
    at INTEGER NOT NULL,
    id BLOB NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    remote TEXT,
    action TEXT NOT NULL,
    target TEXT,
    reason TEXT,
    request_id TEXT,
    detail TEXT,
    ended_at INTEGER,
    status INTEGER,
    problem TEXT,
    PRIMARY KEY (bucket, at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX saga_audit_actor ON saga_audit (bucket, actor, at, id);
CREATE INDEX saga_audit_action ON saga_audit (bucket, action, at, id);
CREATE INDEX saga_audit_target ON saga_audit (bucket, target, at, id);

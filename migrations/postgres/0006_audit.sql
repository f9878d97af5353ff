-- What people and programs have done through the API, or were refused: written before it is done,
-- and completed once with what became of it. All of it is in one bucket: there is little of it, it
-- is read in the order of time, and it leaves in that order.
CREATE TABLE saga_audit (
    bucket int4 NOT NULL,
    at int8 NOT NULL,
    id bytea NOT NULL,
    actor text COLLATE "C" NOT NULL,
    role text NOT NULL,
    remote text,
    action text COLLATE "C" NOT NULL,
    target text COLLATE "C",
    reason text,
    request_id text,
    detail text,
    ended_at int8,
    status int8,
    problem text,
    PRIMARY KEY (bucket, at, id)
);

CREATE INDEX saga_audit_actor ON saga_audit (bucket, actor, at, id);
CREATE INDEX saga_audit_action ON saga_audit (bucket, action, at, id);
CREATE INDEX saga_audit_target ON saga_audit (bucket, target, at, id);

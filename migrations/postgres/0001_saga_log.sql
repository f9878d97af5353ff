-- Facts about the database itself. `buckets` is fixed for ever: ids of sagas depend on it.
CREATE TABLE saga_meta (
    name text NOT NULL PRIMARY KEY,
    value int8 NOT NULL
);

INSERT INTO saga_meta (name, value) VALUES ('buckets', 256);

-- The present state of each saga, for scheduling and queries; it can be rebuilt from saga_log.
-- Pages are left half empty so that the updates of a running saga stay on its page and touch no
-- index but that of what changes.
CREATE TABLE saga (
    bucket int4 NOT NULL,
    id bytea NOT NULL,
    name text NOT NULL,
    version int8 NOT NULL,
    digest bytea NOT NULL,
    key text,
    input_digest bytea NOT NULL,
    status text NOT NULL,
    seq int8 NOT NULL,
    epoch int8 NOT NULL,
    owner bytea,
    claims int8 NOT NULL,
    unanswered int8 NOT NULL,
    next_wake_at int8,
    wait text,
    started_at int8 NOT NULL,
    ended_at int8,
    PRIMARY KEY (bucket, id)
) WITH (fillfactor = 50);

-- Starting twice under one key gives one saga.
CREATE UNIQUE INDEX saga_key ON saga (bucket, key, name) WHERE key IS NOT NULL;

-- What is ready, oldest first, for a worker that knows this definition.
CREATE INDEX saga_due ON saga (name, version, next_wake_at)
    WHERE owner IS NULL AND next_wake_at IS NOT NULL;

-- What a worker owns, and what a dead one left behind.
CREATE INDEX saga_owner ON saga (owner) WHERE owner IS NOT NULL;

-- Lists by status, newest first, and the counts.
CREATE INDEX saga_status ON saga (status, id);


-- The truth: one row per transition, appended and never changed.
CREATE TABLE saga_log (
    bucket int4 NOT NULL,
    saga_id bytea NOT NULL,
    seq int8 NOT NULL,
    epoch int8 NOT NULL,
    at int8 NOT NULL,
    body text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (bucket, saga_id, seq)
);

-- Operator commands on their way to the worker that owns the saga, and what became of them.
CREATE TABLE saga_command (
    bucket int4 NOT NULL,
    saga_id bytea NOT NULL,
    request_id text NOT NULL,
    body text NOT NULL,
    submitted_at int8 NOT NULL,
    answer text,
    answered_at int8,
    PRIMARY KEY (bucket, saga_id, request_id)
);

CREATE INDEX saga_command_unanswered ON saga_command (bucket, saga_id, submitted_at)
    WHERE answered_at IS NULL;

-- One lease per run of a worker process.
CREATE TABLE saga_worker (
    id bytea NOT NULL PRIMARY KEY,
    name text NOT NULL,
    definitions text NOT NULL,
    lease_until int8 NOT NULL
);

-- Definitions as data, so that sagas can be read without their code.
CREATE TABLE saga_definition (
    name text NOT NULL,
    version int8 NOT NULL,
    digest bytea NOT NULL,
    spec text NOT NULL,
    PRIMARY KEY (name, version)
);

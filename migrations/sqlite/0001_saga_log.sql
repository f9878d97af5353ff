-- Facts about the database itself. `buckets` is fixed for ever: ids of sagas depend on it.
CREATE TABLE saga_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO saga_meta (name, value) VALUES ('buckets', 1);

-- The present state of each saga, for scheduling and queries; it can be rebuilt from saga_log.
CREATE TABLE saga (
    bucket INTEGER NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest BLOB NOT NULL,
    key TEXT,
    input_digest BLOB NOT NULL,
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner BLOB,
    claims INTEGER NOT NULL,
    next_wake_at INTEGER,
    wait TEXT,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;

-- Starting twice under one key gives one saga.
CREATE UNIQUE INDEX saga_key ON saga (bucket, key, name) WHERE key IS NOT NULL;

-- What is ready, oldest first, for a worker that knows this definition.
CREATE INDEX saga_due ON saga (bucket, name, version, next_wake_at)
    WHERE owner IS NULL AND next_wake_at IS NOT NULL;

-- What a worker owns, and what a dead one left behind.
CREATE INDEX saga_owner ON saga (bucket, owner) WHERE owner IS NOT NULL;

-- Lists by status, newest first, and the counts.
CREATE INDEX saga_status ON saga (bucket, status, id);

-- The truth: one row per transition, appended and never changed. It keeps SQLite's row numbers
-- because rows are large and arrive interleaved: appending in one place touches fewest pages.
CREATE TABLE saga_log (
    bucket INTEGER NOT NULL,
    saga_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (bucket, saga_id, seq)
) STRICT;

-- Operator commands on their way to the worker that owns the saga, and what became of them.
CREATE TABLE saga_command (
    bucket INTEGER NOT NULL,
    saga_id BLOB NOT NULL,
    request_id TEXT NOT NULL,
    body TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    answer TEXT,
    answered_at INTEGER,
    PRIMARY KEY (bucket, saga_id, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX saga_command_unanswered ON saga_command (bucket, saga_id, submitted_at)
    WHERE answered_at IS NULL;

-- One lease per run of a worker process.
CREATE TABLE saga_worker (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    definitions TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Definitions as data, so that sagas can be read without their code.
CREATE TABLE saga_definition (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest BLOB NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS saga_barrier (
    saga_id     TEXT    NOT NULL,
    step        TEXT    NOT NULL,
    op          TEXT    NOT NULL CHECK (op IN ('action', 'compensation')),
    -- The recorded answer: its HTTP status and its JSON body, byte for byte. The status is 0 while
    -- the transaction that claimed the call has not answered it; nobody else sees it like that.
    status      INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    -- Microseconds since 1970.
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (saga_id, step, op)
) STRICT, WITHOUT ROWID

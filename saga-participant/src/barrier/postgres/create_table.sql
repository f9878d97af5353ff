CREATE TABLE IF NOT EXISTS saga_barrier (
    saga_id     TEXT    NOT NULL,
    step        TEXT    NOT NULL,
    op          TEXT    NOT NULL CHECK (op IN ('action', 'compensation')),
    -- The recorded answer: its HTTP status and its JSON body, byte for byte. The status is 0 while
    -- the transaction that claimed the call has not answered it; nobody else sees it like that.
    status      INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    -- Microseconds since 1970.
    recorded_at BIGINT  NOT NULL,
    PRIMARY KEY (saga_id, step, op)
)
-- Each row is inserted and once updated; the space lets the update stay on its page and out of the
-- indexes.
WITH (fillfactor = 70)

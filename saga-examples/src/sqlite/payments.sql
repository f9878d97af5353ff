-- captured; a captured payment is never given back, for the step is the saga's pivot.
CREATE TABLE IF NOT EXISTS payment (
    id      INTEGER PRIMARY KEY,
    saga_id TEXT    NOT NULL,
    card    TEXT    NOT NULL,
    cents   INTEGER NOT NULL
) STRICT;

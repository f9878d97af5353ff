-- captured; a captured payment is never given back, for the step is the saga's pivot.
CREATE TABLE IF NOT EXISTS payment (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id TEXT   NOT NULL,
    card    TEXT   NOT NULL,
    cents   BIGINT NOT NULL
);

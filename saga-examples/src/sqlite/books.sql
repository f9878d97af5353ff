-- What there is: the free balance of each account, and what sagas hold of it.
CREATE TABLE IF NOT EXISTS account (
    name    TEXT    PRIMARY KEY,
    opening INTEGER NOT NULL,
    balance INTEGER NOT NULL,
    held    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened: one row per effect, never updated, never deleted. Each is written together with the
-- change of its account, so the account is there; a foreign key would lock its row once more.
CREATE TABLE IF NOT EXISTS movement (
    id      INTEGER PRIMARY KEY,
    saga_id TEXT    NOT NULL,
    step    TEXT    NOT NULL,
    op      TEXT    NOT NULL CHECK (op IN ('action', 'compensation')),
    account TEXT    NOT NULL,
    -- Always positive; an action moves it from balance to held, a compensation back.
    amount  INTEGER NOT NULL CHECK (amount > 0)
) STRICT;

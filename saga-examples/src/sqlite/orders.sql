-- An order stands here once it is confirmed; until then its saga tells where it is.
CREATE TABLE IF NOT EXISTS confirmed_order (
    saga_id TEXT PRIMARY KEY,
    number  TEXT NOT NULL
) STRICT;

INSERT OR IGNORE INTO account (name, opening, balance, held) VALUES ('orders', 0, 0, 0);

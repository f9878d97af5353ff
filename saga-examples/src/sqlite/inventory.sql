-- reserved -> released
CREATE TABLE IF NOT EXISTS reservation (
    id       INTEGER PRIMARY KEY,
    saga_id  TEXT    NOT NULL,
    sku      TEXT    NOT NULL,
    quantity INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('reserved', 'released'))
) STRICT;

WITH RECURSIVE nth (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM nth WHERE n < 9)
INSERT OR IGNORE INTO account (name, opening, balance, held)
SELECT printf('SKU-%03d', n), 1000000, 1000000, 0 FROM nth
UNION ALL
SELECT 'SKU-RARE', 5, 5, 0;

-- frozen -> unfrozen
CREATE TABLE IF NOT EXISTS frozen_points (
    id       INTEGER PRIMARY KEY,
    saga_id  TEXT    NOT NULL,
    customer TEXT    NOT NULL,
    points   INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('frozen', 'unfrozen'))
) STRICT;

WITH RECURSIVE nth (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM nth WHERE n < 99)
INSERT OR IGNORE INTO account (name, opening, balance, held)
SELECT printf('customer-%03d', n), 10000000, 10000000, 0 FROM nth
UNION ALL
SELECT 'customer-poor', 0, 0, 0;

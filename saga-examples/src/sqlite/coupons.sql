-- available -> redeemed -> available
CREATE TABLE IF NOT EXISTS coupon (
    code       TEXT    PRIMARY KEY,
    cents      INTEGER NOT NULL,
    -- Microseconds since 1970; NULL never expires.
    expires_at INTEGER,
    state      TEXT    NOT NULL CHECK (state IN ('available', 'redeemed'))
) STRICT, WITHOUT ROWID;

WITH RECURSIVE nth (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM nth WHERE n < 9999)
INSERT OR IGNORE INTO coupon (code, cents, expires_at, state)
SELECT printf('COUPON-%05d', n), 500, NULL, 'available' FROM nth
UNION ALL
SELECT 'EXPIRED', 500, 0, 'available';

INSERT OR IGNORE INTO account (name, opening, balance, held)
SELECT code, 1, 1, 0 FROM coupon;

-- available -> redeemed -> available
CREATE TABLE IF NOT EXISTS coupon (
    code       TEXT   PRIMARY KEY,
    cents      BIGINT NOT NULL,
    -- Microseconds since 1970; NULL never expires.
    expires_at BIGINT,
    state      TEXT   NOT NULL CHECK (state IN ('available', 'redeemed'))
);

INSERT INTO coupon (code, cents, expires_at, state)
SELECT 'COUPON-' || to_char(n, 'FM00000'), 500, NULL, 'available' FROM generate_series(0, 9999) AS n
UNION ALL
SELECT 'EXPIRED', 500, 0, 'available'
ON CONFLICT DO NOTHING;

INSERT INTO account (name, opening, balance, held)
SELECT code, 1, 1, 0 FROM coupon
ON CONFLICT DO NOTHING;

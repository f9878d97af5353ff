-- reserved -> released
CREATE TABLE IF NOT EXISTS reservation (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id  TEXT   NOT NULL,
    sku      TEXT   NOT NULL,
    quantity BIGINT NOT NULL,
    state    TEXT   NOT NULL CHECK (state IN ('reserved', 'released'))
);

INSERT INTO account (name, opening, balance, held)
SELECT 'SKU-' || to_char(n, 'FM000'), 1000000, 1000000, 0 FROM generate_series(0, 9) AS n
UNION ALL
SELECT 'SKU-RARE', 5, 5, 0
ON CONFLICT DO NOTHING;

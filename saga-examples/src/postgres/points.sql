-- frozen -> unfrozen
CREATE TABLE IF NOT EXISTS frozen_points (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id  TEXT   NOT NULL,
    customer TEXT   NOT NULL,
    points   BIGINT NOT NULL,
    state    TEXT   NOT NULL CHECK (state IN ('frozen', 'unfrozen'))
);

INSERT INTO account (name, opening, balance, held)
SELECT 'customer-' || to_char(n, 'FM000'), 10000000, 10000000, 0 FROM generate_series(0, 99) AS n
UNION ALL
SELECT 'customer-poor', 0, 0, 0
ON CONFLICT DO NOTHING;

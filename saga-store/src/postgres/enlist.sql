INSERT INTO saga_worker (id, name, definitions, lease_until)
VALUES ($1, $2, $3, (extract(epoch FROM now()) * 1000000)::int8 + $4)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, definitions = excluded.definitions, lease_until = excluded.lease_until

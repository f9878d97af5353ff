SELECT id, name, definitions, lease_until, lease_until <= (extract(epoch FROM now()) * 1000000)::int8
FROM saga_worker
ORDER BY id

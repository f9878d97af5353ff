SELECT id
FROM saga_worker
WHERE lease_until > (extract(epoch FROM now()) * 1000000)::int8

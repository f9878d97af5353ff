UPDATE saga_worker
SET lease_until = (extract(epoch FROM now()) * 1000000)::int8 + $2
WHERE id = $1 AND lease_until > (extract(epoch FROM now()) * 1000000)::int8

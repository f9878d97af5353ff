-- Clears away workers whose lease ran out longer ago than $1 microseconds. What they own, if
-- anything, is up for claims with or without their row.
DELETE FROM saga_worker
WHERE lease_until < (extract(epoch FROM now()) * 1000000)::int8 - $1

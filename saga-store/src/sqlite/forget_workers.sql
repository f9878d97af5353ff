-- Clears away workers whose lease ran out longer ago than ?1 microseconds. What they own, if
-- anything, is up for claims with or without their row.
DELETE FROM saga_worker
WHERE lease_until < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ?1

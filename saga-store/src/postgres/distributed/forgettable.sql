-- What ended longer than $1 microseconds ago, the earliest first, with the length of each log.
-- Only a look, over all buckets; deleted is bucket by bucket.
SELECT id, seq
FROM saga
WHERE ended_at < (extract(epoch FROM now()) * 1000000)::int8 - $1
ORDER BY ended_at
LIMIT $2

-- What is due of one definition and owned by nobody, the longest due first. Only a look, over all
-- buckets; the claim is made bucket by bucket.
SELECT id, epoch, owner
FROM saga
WHERE
    name = $1
    AND version = $2
    AND digest = $3
    AND owner IS NULL
    AND next_wake_at <= (extract(epoch FROM now()) * 1000000)::int8
ORDER BY next_wake_at
LIMIT $4

SELECT value
FROM saga_meta
WHERE name = 'buckets'

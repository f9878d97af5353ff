-- What may belong to workers without a live lease: all but what those in $1 own. Only a look, over
-- all buckets; the claim is made bucket by bucket.
SELECT id, epoch, owner
FROM saga
WHERE
    owner IS NOT NULL
    AND owner <> ALL($1::bytea[])
    AND (name, version, digest) IN (
        SELECT name, version, digest
        FROM unnest($2::text[], $3::int8[], $4::bytea[]) AS known (name, version, digest)
    )
LIMIT $5

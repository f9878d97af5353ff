-- Only here: PostgreSQL finds and claims in one statement, claim.sql.
-- Sagas owned by workers without a live lease. The owners are found by leaping through the index
-- from one to the next: there are few of them, however many sagas they own.
WITH RECURSIVE owners (id) AS (
    SELECT min(owner)
    FROM saga
    WHERE bucket = ?1 AND owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM saga WHERE bucket = ?1 AND owner > owners.id)
    FROM owners
    WHERE owners.id IS NOT NULL
),
known (name, version, digest) AS (
    SELECT value ->> 'name', value ->> 'version', unhex(value ->> 'digest')
    FROM json_each(?2)
)
SELECT saga.id
FROM owners
CROSS JOIN saga INDEXED BY saga_owner
CROSS JOIN known
WHERE
    saga.bucket = ?1
    AND saga.owner = owners.id
    AND saga.name = known.name
    AND saga.version = known.version
    AND saga.digest = known.digest
    AND NOT EXISTS (
        SELECT 1
        FROM saga_worker
        WHERE
            saga_worker.id = owners.id
            AND saga_worker.lease_until > CAST(unixepoch('subsec') * 1000000 AS INTEGER)
    )
LIMIT ?3

-- What waits: rows of what it is, why, how many, and since when; and the time. Each part is read from
-- an index that holds little else; what is due by definition, since the index of that begins with it.
SELECT 'due', NULL, count(*), min(saga.next_wake_at)
FROM saga_definition
CROSS JOIN saga INDEXED BY saga_due
WHERE
    saga.bucket = ?1
    AND saga.name = saga_definition.name
    AND saga.version = saga_definition.version
    AND saga.owner IS NULL
    AND saga.next_wake_at <= CAST(unixepoch('subsec') * 1000000 AS INTEGER)
UNION ALL
SELECT 'stuck', CASE WHEN json_valid(wait) THEN wait ->> 'code' END, count(*), NULL
FROM saga INDEXED BY saga_status
WHERE bucket = ?1 AND owner IS NULL AND status = 'stuck'
GROUP BY 2
UNION ALL
SELECT 'unanswered', NULL, count(*), min(submitted_at)
FROM saga_command INDEXED BY saga_command_unanswered
WHERE bucket = ?1 AND answered_at IS NULL
UNION ALL
SELECT 'now', NULL, 0, CAST(unixepoch('subsec') * 1000000 AS INTEGER)

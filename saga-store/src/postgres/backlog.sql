-- What waits: rows of what it is, why, how many, and since when; and the time. What is due is found by
-- definition, since the index of that begins with it. A wait is searched as text, so that one that is
-- no JSON keeps nobody from the others.
SELECT 'due', NULL::text, count(*), min(saga.next_wake_at)
FROM saga_definition
INNER JOIN saga ON saga.name = saga_definition.name AND saga.version = saga_definition.version
WHERE saga.owner IS NULL AND saga.next_wake_at <= (extract(epoch FROM now()) * 1000000)::int8
UNION ALL
SELECT 'stuck', substring(wait FROM '"code":"([a-z_]+)"'), count(*), NULL
FROM saga
WHERE owner IS NULL AND status = 'stuck'
GROUP BY 2
UNION ALL
SELECT 'unanswered', NULL, count(*), min(submitted_at)
FROM saga_command
WHERE answered_at IS NULL
UNION ALL
SELECT 'now', NULL, 0, (extract(epoch FROM now()) * 1000000)::int8

-- From the few unanswered commands to their sagas, not the other way round. Nobody owns a saga that
-- has ended, so its commands are everybody's until one has answered them.
SELECT saga_command.saga_id, saga_command.body
FROM saga_command
INNER JOIN saga ON saga.bucket = saga_command.bucket AND saga.id = saga_command.saga_id
WHERE
    saga_command.answered_at IS NULL
    AND (saga.owner = $1 OR saga.ended_at IS NOT NULL)
ORDER BY saga_command.saga_id, saga_command.submitted_at
LIMIT $2

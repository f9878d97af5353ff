-- From the few unanswered commands to their sagas, not the other way round. Nobody owns a saga that
-- has ended, so its commands are everybody's until one has answered them.
SELECT saga_command.saga_id, saga_command.body
FROM saga_command
CROSS JOIN saga
WHERE
    saga_command.bucket = ?1
    AND saga_command.answered_at IS NULL
    AND saga.bucket = ?1
    AND saga.id = saga_command.saga_id
    AND (saga.owner = ?2 OR saga.ended_at IS NOT NULL)
ORDER BY saga_command.saga_id, saga_command.submitted_at
LIMIT ?3

-- From the few unanswered commands to their sagas, not the other way round.
SELECT saga_command.saga_id, saga_command.body
FROM saga_command
CROSS JOIN saga
WHERE
    saga_command.bucket = ?1
    AND saga_command.answered_at IS NULL
    AND saga.bucket = ?1
    AND saga.id = saga_command.saga_id
    AND saga.owner = ?2
ORDER BY saga_command.saga_id, saga_command.submitted_at
LIMIT ?3

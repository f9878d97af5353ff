-- What follows position ?1 in the feed, oldest first, at most ?2 rows.
SELECT
    saga_log.position, saga_log.saga_id, saga.name, saga.version, saga.digest, saga.key,
    coalesce(saga_log.status, saga.status),
    saga_log.seq, saga_log.epoch, saga_log.at, saga_log.body, saga_log.digest
FROM saga_log
INNER JOIN saga ON saga.bucket = saga_log.bucket AND saga.id = saga_log.saga_id
WHERE saga_log.position > ?1
ORDER BY saga_log.position
LIMIT ?2

-- Which of these very rows are in the log of bucket $1 already: their appends are repetitions.
SELECT given.nth
FROM unnest(
    $2::bytea[], $3::int8[], $4::int8[], $5::int8[], $6::text[], $7::bytea[]
) WITH ORDINALITY AS given (id, seq, epoch, at, body, digest, nth)
INNER JOIN saga_log
    ON
        saga_log.bucket = $1
        AND saga_log.saga_id = given.id
        AND saga_log.seq = given.seq
        AND saga_log.epoch = given.epoch
        AND saga_log.at = given.at
        AND saga_log.body = given.body
        AND saga_log.digest = given.digest

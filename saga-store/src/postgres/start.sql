-- Many starts in one statement. Of those with one key, or one id, only the first creates a saga.
WITH given AS (
    SELECT *
    FROM unnest(
        $1::int4[], $2::bytea[], $3::text[], $4::int8[], $5::bytea[], $6::text[], $7::bytea[],
        $8::int8[], $9::int8[], $10::bytea[], $11::int8[], $12::text[], $13::int8[], $14::text[],
        $15::int8[], $16::text[], $17::bytea[]
    ) AS given (
        bucket, id, name, version, digest, key, input_digest,
        seq, epoch, owner, at, status, next_wake_at, wait,
        ended_at, body, log_digest
    )
),
created AS (
    INSERT INTO saga (
        bucket, id, name, version, digest, key, input_digest, seq, epoch, owner, claims,
        unanswered, started_at, status, next_wake_at, wait, ended_at
    )
    SELECT
        bucket, id, name, version, digest, key, input_digest, seq, epoch, owner, 0,
        0, at, status, next_wake_at, wait, ended_at
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING bucket, id
),
logged AS (
    INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest, status)
    SELECT given.bucket, given.id, given.seq, given.epoch, given.at, given.body, given.log_digest,
        given.status
    FROM created
    INNER JOIN given ON given.bucket = created.bucket AND given.id = created.id
)
SELECT id FROM created

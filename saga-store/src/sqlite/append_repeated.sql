-- Whether this very row is in the log already: then the append is a repetition.
SELECT EXISTS (
    SELECT 1
    FROM saga_log
    WHERE
        bucket = ?1 AND saga_id = ?2 AND seq = ?3
        AND epoch = ?4 AND at = ?5 AND body = ?6 AND digest = ?7
)

-- Times of submission rise strictly within a saga, so that they give the order.
INSERT INTO saga_command (bucket, saga_id, request_id, body, submitted_at)
SELECT
    bucket, id, ?3, ?4,
    max(
        CAST(unixepoch('subsec') * 1000000 AS INTEGER),
        coalesce(
            (SELECT max(submitted_at) + 1 FROM saga_command WHERE bucket = ?1 AND saga_id = ?2),
            0
        )
    )
FROM saga
WHERE bucket = ?1 AND id = ?2
ON CONFLICT DO NOTHING

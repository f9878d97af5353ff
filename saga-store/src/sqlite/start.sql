INSERT INTO saga (
    bucket, id, name, version, digest, key, input_digest, seq, epoch, owner, claims,
    started_at, status, next_wake_at, wait, ended_at
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT DO NOTHING

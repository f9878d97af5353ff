INSERT INTO saga_register (bucket, name, version, value)
VALUES ($1, $2, 1, $3)
ON CONFLICT (bucket, name) DO NOTHING

-- Changes nothing when this version is on record with another structure.
INSERT INTO saga_definition (name, version, digest, spec)
VALUES ($1, $2, $3, $4)
ON CONFLICT (name, version) DO UPDATE
SET spec = excluded.spec
WHERE saga_definition.digest = excluded.digest

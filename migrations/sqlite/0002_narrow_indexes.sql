-- The index for lists by status leaves out what a worker owns: of those there are never more than
-- workers can drive, the index by owner finds them, and starting a saga touches one index less.
DROP INDEX saga_status;

CREATE INDEX saga_status ON saga (bucket, status, id) WHERE owner IS NULL;

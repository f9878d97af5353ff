-- The index for lists by status leaves out what a worker owns: of those there are never more than
-- workers can drive, the index by owner finds them, and starting a saga touches one index less.
DROP INDEX saga_status;

CREATE INDEX saga_status ON saga (status, id) WHERE owner IS NULL;

-- Names, keys and words are compared byte by byte, whatever the language of the database.
ALTER TABLE saga
    ALTER COLUMN name TYPE text COLLATE "C",
    ALTER COLUMN key TYPE text COLLATE "C",
    ALTER COLUMN status TYPE text COLLATE "C";

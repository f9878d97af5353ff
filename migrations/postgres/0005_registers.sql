-- Small documents by name that processes change by compare and set: how far a webhook has come.
CREATE TABLE saga_register (
    bucket int4 NOT NULL,
    name text COLLATE "C" NOT NULL,
    version int8 NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (bucket, name)
);

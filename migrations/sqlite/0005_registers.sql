-- Small documents by name that processes change by compare and set: how far a webhook has come.
CREATE TABLE saga_register (
    bucket INTEGER NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
) STRICT, WITHOUT ROWID;

-- Only here: SQLite numbers the rows of the log itself.
-- Nobody adds a row until the numbers go on elsewhere.
LOCK TABLE saga_log IN ACCESS EXCLUSIVE MODE

-- The highest number of a transaction among the rows of these sagas of bucket $1.
SELECT max(xid)
FROM saga_log
WHERE bucket = $1 AND saga_id = ANY($2::bytea[])

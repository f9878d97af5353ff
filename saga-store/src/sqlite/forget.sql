-- Deletes sagas by their ids, after what belongs to them.
DELETE FROM saga
WHERE bucket = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))

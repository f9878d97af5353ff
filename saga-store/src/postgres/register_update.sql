UPDATE saga_register SET version = version + 1, value = $4
WHERE bucket = $1 AND name = $2 AND version = $3

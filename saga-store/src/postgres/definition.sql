SELECT spec
FROM saga_definition
WHERE name = $1 AND version = $2

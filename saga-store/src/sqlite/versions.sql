SELECT version
FROM saga_definition
WHERE name = ?1
ORDER BY version

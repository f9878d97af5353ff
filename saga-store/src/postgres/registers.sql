SELECT name, version, value FROM saga_register WHERE name >= $1 AND name < $2

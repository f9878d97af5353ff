SELECT version, value FROM saga_register WHERE bucket = $1 AND name = $2

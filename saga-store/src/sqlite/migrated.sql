SELECT version, checksum FROM saga_migration ORDER BY version

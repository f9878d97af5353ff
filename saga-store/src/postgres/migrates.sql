SELECT count(to_regclass('saga_migration'))

UPDATE saga_barrier SET status = ?4, body = ?5 WHERE saga_id = ?1 AND step = ?2 AND op = ?3

SELECT op, status, body FROM saga_barrier WHERE saga_id = ?1 AND step = ?2

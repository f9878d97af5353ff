-- Takes back a claim of this transaction whose call has no answer to record.
DELETE FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = $3 AND status = 0

-- Both rows of a step go together, and only when the younger of them is old enough: an action's row
-- alone would let its compensation pass as a null compensation. Rows that another pruning holds are
-- left to it.
WITH old AS MATERIALIZED (
    SELECT guard.saga_id, guard.step
    FROM saga_barrier AS guard
    WHERE guard.recorded_at < $1
      AND NOT EXISTS (
          SELECT 1
          FROM saga_barrier AS young
          WHERE young.saga_id = guard.saga_id
            AND young.step = guard.step
            AND young.recorded_at >= $1
      )
    LIMIT $2
    FOR UPDATE OF guard SKIP LOCKED
)
DELETE FROM saga_barrier WHERE (saga_id, step) IN (SELECT saga_id, step FROM old)

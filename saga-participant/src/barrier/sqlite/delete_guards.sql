-- Both rows of a step go together, and only when the younger of them is old enough: an action's row
-- alone would let its compensation pass as a null compensation.
DELETE FROM saga_barrier
WHERE (saga_id, step) IN (
    SELECT old.saga_id, old.step
    FROM saga_barrier AS old
    WHERE old.recorded_at < ?1
      AND NOT EXISTS (
          SELECT 1
          FROM saga_barrier AS young
          WHERE young.saga_id = old.saga_id
            AND young.step = old.step
            AND young.recorded_at >= ?1
      )
    LIMIT ?2
)

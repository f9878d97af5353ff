CREATE INDEX IF NOT EXISTS saga_barrier_recorded_at ON saga_barrier (recorded_at)

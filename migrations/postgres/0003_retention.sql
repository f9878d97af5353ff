-- What has ended, the earliest first: where retention finds what may leave. A saga gets its entry
-- with its verdict and never before, so one that is under way does not pay for it.
CREATE INDEX saga_ended ON saga (ended_at) WHERE ended_at IS NOT NULL;

-- Microseconds since 1970, UTC; NULL before it was.
ALTER TABLE reconcile_control ADD COLUMN success_us bigint;  -- When a round last left nothing missing.
ALTER TABLE reconcile_control ADD COLUMN awaited_since_us bigint;  -- When a reconciler first began here.

CREATE TABLE reconcile_state (
    partition text COLLATE "C" PRIMARY KEY,
    state bytea NOT NULL  -- The ReconcileState.
);

CREATE TABLE reconcile_history (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition text NOT NULL,
    run_id text NOT NULL,
    result bytea NOT NULL  -- The ReconcileResult.
);
CREATE INDEX reconcile_history_by_partition ON reconcile_history (partition, number);
CREATE UNIQUE INDEX reconcile_history_by_run ON reconcile_history (run_id, partition) WHERE run_id <> '';

-- Times are microseconds since 1970, UTC.
CREATE TABLE reconcile_parked (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    signal_id text NOT NULL,
    partition text NOT NULL,
    ledger_sequence bigint NOT NULL,
    ledger_index bigint NOT NULL,
    code integer NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    attempts bigint NOT NULL,
    first_attempt_us bigint NOT NULL,
    last_attempt_us bigint NOT NULL,
    waived_reason text NOT NULL DEFAULT '',
    UNIQUE (partition, ledger_index)
);

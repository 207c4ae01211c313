CREATE TABLE reconcile_state (
    partition TEXT PRIMARY KEY,
    state     BLOB NOT NULL  -- The ReconcileState.
) STRICT, WITHOUT ROWID;

CREATE TABLE reconcile_history (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,  -- Never given twice, so that a page token names one place for ever.
    partition TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    result    BLOB NOT NULL  -- The ReconcileResult.
) STRICT;
CREATE INDEX reconcile_history_by_partition ON reconcile_history (partition, number);
CREATE UNIQUE INDEX reconcile_history_by_run ON reconcile_history (run_id, partition) WHERE run_id <> '';

-- Times are microseconds since 1970, UTC.
CREATE TABLE reconcile_parked (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    signal_id        TEXT    NOT NULL,
    partition        TEXT    NOT NULL,
    ledger_sequence  INTEGER NOT NULL,
    ledger_index     INTEGER NOT NULL,
    code             INTEGER NOT NULL,
    reason           TEXT    NOT NULL,
    message          TEXT    NOT NULL,
    attempts         INTEGER NOT NULL,
    first_attempt_us INTEGER NOT NULL,
    last_attempt_us  INTEGER NOT NULL,
    waived_reason    TEXT    NOT NULL DEFAULT '',
    UNIQUE (partition, ledger_index)
) STRICT;

CREATE TABLE reconcile_control (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    paused_reason      TEXT,  -- NULL when it is not paused.
    signals_per_second REAL,
    lease_owner        TEXT    NOT NULL DEFAULT '',
    lease_until_us     INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO reconcile_control (one) VALUES (1);

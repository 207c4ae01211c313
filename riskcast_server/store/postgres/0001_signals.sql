-- Signals once each, and what came again as something else.

ALTER TABLE store_meta ADD COLUMN probed_at timestamptz NOT NULL DEFAULT 'epoch';  -- Written to learn whether writing works.

CREATE TABLE signals (
    signal_id text PRIMARY KEY,
    place bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- The order of listing. Two processes may commit against it.
    trace_id text NOT NULL,
    ack_id text NOT NULL CONSTRAINT signals_ack_id UNIQUE,
    processed_at timestamptz NOT NULL,
    emitted_at timestamptz NOT NULL,
    partition_date text NOT NULL,  -- The UTC date of emitted_at.
    ledger_partition text NOT NULL,  -- Where it came from first; empty and 0 without a place in a ledger.
    ledger_index bigint NOT NULL,
    origin text NOT NULL CHECK (origin IN ('hot_path', 'reconcile', 'direct')),
    request_id text NOT NULL,
    content_digest text NOT NULL,
    signal_data bytea NOT NULL  -- The omen.v1.SignalEvent as it came first, in protobuf.
);

CREATE INDEX signals_by_partition_date ON signals (partition_date);
CREATE INDEX signals_by_ledger_partition ON signals (ledger_partition, place);
CREATE INDEX signals_by_origin ON signals (origin, place);

-- The row of signals never changes; what came with the same id and other content, or for a taken position, stands here.
CREATE TABLE conflicts (
    conflict bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('content', 'position')),
    signal_id text NOT NULL,
    at timestamptz NOT NULL,
    origin text NOT NULL,
    request_id text NOT NULL,
    stored_digest text NOT NULL,
    offered_digest text NOT NULL,
    ledger_partition text NOT NULL,
    ledger_index bigint NOT NULL,
    holder_signal_id text NOT NULL,
    UNIQUE (signal_id, kind, offered_digest, ledger_partition, ledger_index)  -- A replay does not list it again.
);

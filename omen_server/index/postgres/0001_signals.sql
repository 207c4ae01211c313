-- One row for each record of the ledger. Times are nanoseconds since 1970, UTC.

CREATE TABLE omen_signals (
    ledger_offset bigint PRIMARY KEY,
    ledger_partition text NOT NULL,
    ledger_index bigint NOT NULL,
    signal_id text NOT NULL,
    trace_id text NOT NULL,
    input_event_hash text NOT NULL,
    source_event_id text NOT NULL,
    content_digest text NOT NULL,
    emitted_ns bigint NOT NULL,
    latest_ns bigint NOT NULL,  -- The highest emitted_ns up to here. It never falls, so a search finds the first since.
    category integer NOT NULL,
    title text NOT NULL,  -- Case-folded.
    crc bigint NOT NULL,
    status integer NOT NULL DEFAULT 0,
    ack_id text NOT NULL DEFAULT ''
) WITH (fillfactor = 90);  -- Every row is updated once, with its outcome.

CREATE INDEX omen_signals_by_id ON omen_signals (signal_id, ledger_offset);
CREATE INDEX omen_signals_by_trace_id ON omen_signals (trace_id, ledger_offset);
-- Upstreams choose these texts, of any length: an entry of a btree could be too small for them.
CREATE INDEX omen_signals_by_input ON omen_signals (md5(input_event_hash), ledger_offset);
CREATE INDEX omen_signals_by_source ON omen_signals (md5(source_event_id), ledger_offset);
CREATE INDEX omen_signals_by_partition ON omen_signals (ledger_partition, ledger_offset);
CREATE INDEX omen_signals_by_latest ON omen_signals (latest_ns, ledger_offset);

-- What the rows of a partition come to, so that nobody has to count them.
CREATE TABLE omen_signal_partitions (
    ledger_partition text PRIMARY KEY,
    row_count bigint NOT NULL,
    last_offset bigint NOT NULL
);

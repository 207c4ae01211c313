-- One row for each record of the ledger. Times are nanoseconds since 1970, UTC.

CREATE TABLE omen_signals (
    ledger_offset INTEGER PRIMARY KEY,
    ledger_partition TEXT NOT NULL,
    ledger_index INTEGER NOT NULL,
    signal_id TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    input_event_hash TEXT NOT NULL,
    source_event_id TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    emitted_ns INTEGER NOT NULL,
    latest_ns INTEGER NOT NULL,  -- The highest emitted_ns up to here. It never falls, so a search finds the first since.
    category INTEGER NOT NULL,
    title TEXT NOT NULL,  -- Case-folded.
    crc INTEGER NOT NULL,
    trace_key INTEGER NOT NULL,  -- CRC-32 of the text of that name: short, and the text itself decides.
    input_key INTEGER NOT NULL,
    source_key INTEGER NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    ack_id TEXT NOT NULL DEFAULT ''
) STRICT;

-- Each index also has the ledger_offset, in order. This one is the hot path's.
CREATE INDEX omen_signals_by_id ON omen_signals (signal_id);

-- These are asked seldom and written always. Sorted by a random key alone, each row would change a page of its own in
-- each of them; so they are sorted anew in every bucket of 16,384 offsets, and a question goes through the buckets.
CREATE INDEX omen_signals_by_trace_id ON omen_signals (ledger_offset >> 14, trace_key);
CREATE INDEX omen_signals_by_input ON omen_signals (ledger_offset >> 14, input_key);
CREATE INDEX omen_signals_by_source ON omen_signals (ledger_offset >> 14, source_key);

-- And these grow at their ends.
CREATE INDEX omen_signals_by_partition ON omen_signals (ledger_partition);
CREATE INDEX omen_signals_by_latest ON omen_signals (latest_ns);

-- What the rows of a partition come to, so that nobody has to count them.
CREATE TABLE omen_signal_partitions (
    ledger_partition TEXT NOT NULL PRIMARY KEY,
    row_count INTEGER NOT NULL,
    last_offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to where the rows are true, and of which ledger. No row: the index is nobody's.
CREATE TABLE omen_index (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ledger_id TEXT NOT NULL,
    ledger_epoch TEXT NOT NULL,
    ledger_offset INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

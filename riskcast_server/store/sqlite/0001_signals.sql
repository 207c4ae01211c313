-- Signals once each, and what came again as something else. Times are microseconds since 1970, UTC.

CREATE TABLE store_meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_epoch TEXT NOT NULL,  -- Another one means: restored from a backup.
    probed_at INTEGER NOT NULL DEFAULT 0  -- Written to learn whether writing works.
) STRICT;

INSERT INTO store_meta (one, store_epoch) VALUES (1, lower(hex(randomblob(8))));

CREATE TABLE signals (
    signal_id TEXT NOT NULL PRIMARY KEY,
    trace_id TEXT NOT NULL,
    ack_id TEXT NOT NULL UNIQUE,
    processed_at INTEGER NOT NULL,
    emitted_at INTEGER NOT NULL,
    partition_date TEXT NOT NULL,  -- The UTC date of emitted_at.
    ledger_partition TEXT NOT NULL,  -- Where it came from first; empty and 0 without a place in a ledger.
    ledger_index INTEGER NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('hot_path', 'reconcile', 'direct')),
    request_id TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    signal_data BLOB NOT NULL  -- The omen.v1.SignalEvent as it came first, in protobuf.
) STRICT;

CREATE INDEX signals_by_partition_date ON signals (partition_date);
CREATE INDEX signals_by_ledger_partition ON signals (ledger_partition);
CREATE INDEX signals_by_origin ON signals (origin);

-- The row of signals never changes; what came with the same id and other content, or for a taken position, stands here.
CREATE TABLE conflicts (
    conflict INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('content', 'position')),
    signal_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    origin TEXT NOT NULL,
    request_id TEXT NOT NULL,
    stored_digest TEXT NOT NULL,
    offered_digest TEXT NOT NULL,
    ledger_partition TEXT NOT NULL,
    ledger_index INTEGER NOT NULL,
    holder_signal_id TEXT NOT NULL,
    UNIQUE (signal_id, kind, offered_digest, ledger_partition, ledger_index)  -- A replay does not list it again.
) STRICT;

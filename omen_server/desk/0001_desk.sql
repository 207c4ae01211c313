CREATE TABLE dead_letters (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,  -- Never given twice, so that an id of today names nothing else.
    stage         TEXT    NOT NULL,
    subject       TEXT    NOT NULL,  -- The raw event's hash, or the signal's id.
    event         BLOB    NOT NULL,  -- The RawSignalEvent, or nothing.
    ledger_offset INTEGER NOT NULL,
    at_ns         INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    message       TEXT    NOT NULL,
    attempts      INTEGER NOT NULL,
    UNIQUE (stage, subject)
) STRICT;

CREATE TABLE rejected (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    rule   TEXT NOT NULL,
    record BLOB NOT NULL  -- The RejectedEvent.
) STRICT;

CREATE TABLE series (
    key       TEXT    PRIMARY KEY,
    newest_ns INTEGER NOT NULL,
    points    BLOB    NOT NULL  -- Sixteen bytes each: when, and how likely.
) STRICT, WITHOUT ROWID;
CREATE INDEX series_by_age ON series (newest_ns, key);

CREATE TABLE peers (
    number          INTEGER PRIMARY KEY,  -- In the order they were kept.
    source          TEXT    NOT NULL,
    source_event_id TEXT    NOT NULL,
    kept_ns         INTEGER NOT NULL,
    event           BLOB    NOT NULL,
    UNIQUE (source, source_event_id)
) STRICT;

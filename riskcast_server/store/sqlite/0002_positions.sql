-- Every ledger position seen, those of duplicates too, and the digests of blocks of 1,024 of them.

CREATE TABLE positions (
    ledger_partition TEXT NOT NULL,
    ledger_index INTEGER NOT NULL CHECK (ledger_index > 0),
    signal_id TEXT NOT NULL,
    h1 INTEGER NOT NULL,  -- The halves of the position's hash, as the signed integers with the same 64 bits.
    h2 INTEGER NOT NULL,
    extra INTEGER NOT NULL,  -- 0 where the signal's row names this position: it is found from there.
    PRIMARY KEY (ledger_partition, ledger_index)
) STRICT, WITHOUT ROWID;

-- An index on every signal_id, which are random, would take as long as the signals themselves.
CREATE INDEX positions_extra ON positions (signal_id) WHERE extra = 1;

-- Which signals hold a position.
CREATE VIEW holders AS
    SELECT signal_id FROM positions WHERE extra = 1
    UNION ALL
    SELECT signals.signal_id FROM signals JOIN positions USING (ledger_partition, ledger_index, signal_id);

-- Whether positions has a row of it. Kept here so that those without one are counted and not searched for.
ALTER TABLE signals ADD COLUMN positioned INTEGER NOT NULL DEFAULT 0;
CREATE INDEX signals_unpositioned ON signals (partition_date) WHERE positioned = 0;

-- Digests of complete blocks only: no insert can change those, so only deletes and updates have to be watched.
CREATE TABLE block_cache (
    ledger_partition TEXT NOT NULL,
    block INTEGER NOT NULL,
    h1 INTEGER NOT NULL,
    h2 INTEGER NOT NULL,
    PRIMARY KEY (ledger_partition, block)
) STRICT, WITHOUT ROWID;

-- Counts the deletes and updates. A digest computed under an older generation is not cached.
ALTER TABLE store_meta ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER signals_deleted AFTER DELETE ON signals BEGIN
    DELETE FROM positions WHERE extra = 1 AND signal_id = old.signal_id;
    DELETE FROM positions
    WHERE ledger_partition = old.ledger_partition AND ledger_index = old.ledger_index AND signal_id = old.signal_id;
END;

CREATE TRIGGER positions_deleted AFTER DELETE ON positions BEGIN
    UPDATE store_meta SET generation = generation + 1;
    DELETE FROM block_cache WHERE ledger_partition = old.ledger_partition AND block = (old.ledger_index - 1) >> 10;
    UPDATE signals SET positioned = EXISTS (SELECT 1 FROM holders WHERE signal_id = old.signal_id)
    WHERE signal_id = old.signal_id;
END;

CREATE TRIGGER positions_updated AFTER UPDATE ON positions BEGIN
    UPDATE store_meta SET generation = generation + 1;
    DELETE FROM block_cache WHERE ledger_partition = old.ledger_partition AND block = (old.ledger_index - 1) >> 10;
    DELETE FROM block_cache WHERE ledger_partition = new.ledger_partition AND block = (new.ledger_index - 1) >> 10;
    UPDATE positions SET extra = 1
    WHERE ledger_partition = new.ledger_partition AND ledger_index = new.ledger_index AND extra = 0;
    UPDATE signals SET positioned = EXISTS (SELECT 1 FROM holders WHERE holders.signal_id = signals.signal_id)
    WHERE signal_id IN (old.signal_id, new.signal_id);
END;

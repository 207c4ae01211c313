-- Every ledger position seen, those of duplicates too, and the digests of blocks of 1,024 of them.

CREATE TABLE positions (
    ledger_partition text NOT NULL,
    ledger_index bigint NOT NULL CHECK (ledger_index > 0),
    signal_id text NOT NULL,
    h1 bigint NOT NULL,  -- The halves of the position's hash, as the signed integers with the same 64 bits.
    h2 bigint NOT NULL,
    extra boolean NOT NULL,  -- False where the signal's row names this position: it is found from there.
    PRIMARY KEY (ledger_partition, ledger_index)
);

-- An index on every signal_id, which are random, would take as long as the signals themselves.
CREATE INDEX positions_extra ON positions (signal_id) WHERE extra;

-- Which signals hold a position.
CREATE VIEW holders AS
    SELECT signal_id FROM positions WHERE extra
    UNION ALL
    SELECT signals.signal_id FROM signals JOIN positions USING (ledger_partition, ledger_index, signal_id);

-- Whether positions has a row of it. Kept here so that those without one are counted and not searched for.
ALTER TABLE signals ADD COLUMN positioned boolean NOT NULL DEFAULT false;
CREATE INDEX signals_unpositioned ON signals (partition_date) WHERE NOT positioned;

-- Digests of complete blocks only: no insert can change those, so only deletes and updates have to be watched.
CREATE TABLE block_cache (
    ledger_partition text NOT NULL,
    block bigint NOT NULL,
    h1 bigint NOT NULL,
    h2 bigint NOT NULL,
    PRIMARY KEY (ledger_partition, block)
);

-- Counts the deletes and updates. A digest computed under an older generation is not cached; whoever caches one holds
-- this row FOR SHARE, so that a delete that is not yet committed is waited for.
ALTER TABLE store_meta ADD COLUMN generation bigint NOT NULL DEFAULT 0;

CREATE FUNCTION drop_changed_blocks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE store_meta SET generation = generation + 1;
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM block_cache;
        UPDATE signals SET positioned = false WHERE positioned;
        RETURN NULL;
    END IF;
    DELETE FROM block_cache USING old_rows
    WHERE block_cache.ledger_partition = old_rows.ledger_partition AND block = (ledger_index - 1) >> 10;
    UPDATE signals SET positioned = EXISTS (SELECT FROM holders WHERE holders.signal_id = signals.signal_id)
    WHERE signal_id IN (SELECT signal_id FROM old_rows);
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM block_cache USING new_rows
        WHERE block_cache.ledger_partition = new_rows.ledger_partition AND block = (ledger_index - 1) >> 10;
        UPDATE signals SET positioned = true WHERE signal_id IN (SELECT signal_id FROM new_rows) AND NOT positioned;
    END IF;
    RETURN NULL;
END $$;

-- A row that was changed by hand may be another than the one that its signal names.
CREATE FUNCTION mark_extra() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.extra := true;
    RETURN NEW;
END $$;

CREATE TRIGGER positions_marked BEFORE UPDATE ON positions FOR EACH ROW EXECUTE FUNCTION mark_extra();
CREATE TRIGGER positions_deleted AFTER DELETE ON positions
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION drop_changed_blocks();
CREATE TRIGGER positions_updated AFTER UPDATE ON positions
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION drop_changed_blocks();
CREATE TRIGGER positions_truncated AFTER TRUNCATE ON positions
    FOR EACH STATEMENT EXECUTE FUNCTION drop_changed_blocks();

CREATE FUNCTION delete_positions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM positions;
    ELSE
        DELETE FROM positions WHERE extra AND signal_id IN (SELECT signal_id FROM old_rows);
        DELETE FROM positions USING old_rows
        WHERE positions.ledger_partition = old_rows.ledger_partition AND positions.ledger_index = old_rows.ledger_index
        AND positions.signal_id = old_rows.signal_id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER signals_deleted AFTER DELETE ON signals
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION delete_positions();
CREATE TRIGGER signals_truncated AFTER TRUNCATE ON signals
    FOR EACH STATEMENT EXECUTE FUNCTION delete_positions();

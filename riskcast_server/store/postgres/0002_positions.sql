-- Every ledger position seen, those of duplicates too, and the digests of blocks of 1,024 of them.

CREATE TABLE positions (
    ledger_partition text NOT NULL,
    ledger_index bigint NOT NULL CHECK (ledger_index > 0),
    signal_id text NOT NULL,
    h1 bigint NOT NULL,  -- The halves of the position's hash, as the signed integers with the same 64 bits.
    h2 bigint NOT NULL,
    PRIMARY KEY (ledger_partition, ledger_index)
);

CREATE INDEX positions_by_signal ON positions (signal_id);

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
    UPDATE signals SET positioned = EXISTS (SELECT 1 FROM positions WHERE positions.signal_id = signals.signal_id)
    WHERE signal_id IN (SELECT signal_id FROM old_rows);
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM block_cache USING new_rows
        WHERE block_cache.ledger_partition = new_rows.ledger_partition AND block = (ledger_index - 1) >> 10;
        UPDATE signals SET positioned = true WHERE signal_id IN (SELECT signal_id FROM new_rows) AND NOT positioned;
    END IF;
    RETURN NULL;
END $$;

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
        DELETE FROM positions WHERE signal_id IN (SELECT signal_id FROM old_rows);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER signals_deleted AFTER DELETE ON signals
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION delete_positions();
CREATE TRIGGER signals_truncated AFTER TRUNCATE ON signals
    FOR EACH STATEMENT EXECUTE FUNCTION delete_positions();

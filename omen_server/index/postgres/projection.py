"""
What changes the index: one statement for each table, one transaction for each change.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, Final

from omen_server.index import Mark, Outcome, merged
from omen_server.index.errors import IndexMoved, IndexOfAnother
from omen_server.index.row import Row
from omen_storage.postgres.connection import READ, Connection, Database

# What a crash of the database loses is read from the ledger again, so no commit waits for its disk.
_WRITE: Final = "READ COMMITTED; SET LOCAL synchronous_commit = off"
# Cutting a large index takes its time.
_CUT_TIMEOUT_S: Final = 3600.0

_MARK: Final = "SELECT ledger_id, ledger_epoch, ledger_offset, crc FROM omen_index"
_INSERT: Final = """
INSERT INTO omen_signals (ledger_offset, ledger_partition, ledger_index, signal_id, trace_id, input_event_hash,
                          source_event_id, content_digest, emitted_ns, category, title, crc, latest_ns)
SELECT new.*, greatest(
    max(emitted_ns) OVER (ORDER BY ledger_offset),
    (SELECT latest_ns FROM omen_signals ORDER BY ledger_offset DESC LIMIT 1)
) FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
              $9::bigint[], $10::integer[], $11::text[], $12::bigint[])
    AS new (ledger_offset, ledger_partition, ledger_index, signal_id, trace_id, input_event_hash, source_event_id,
            content_digest, emitted_ns, category, title, crc)"""
_COUNT: Final = """
INSERT INTO omen_signal_partitions AS kept (ledger_partition, row_count, last_offset)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
ON CONFLICT (ledger_partition) DO UPDATE
SET row_count = kept.row_count + excluded.row_count, last_offset = excluded.last_offset"""
_MOVE: Final = "UPDATE omen_index SET ledger_id = $1, ledger_epoch = $2, ledger_offset = $3, crc = $4"
_CUT: Final = "DELETE FROM omen_signals WHERE ledger_offset > $1"
_RECOUNT: Final = """
UPDATE omen_signal_partitions AS kept SET (row_count, last_offset) = (
    SELECT count(*), coalesce(max(ledger_offset), 0) FROM omen_signals
    WHERE omen_signals.ledger_partition = kept.ledger_partition
) WHERE last_offset > $1"""
_STEP_BACK: Final = """
UPDATE omen_index SET ledger_offset = $1,
                      crc = coalesce((SELECT crc FROM omen_signals WHERE ledger_offset = $1), 0)"""
# How much an outcome says is `Outcome.strength`; the ack and the delivery are what makes it 2.
_NOTE: Final = """
UPDATE omen_signals AS kept SET status = told.status, ack_id = told.ack_id
FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::integer[]) AS told (ledger_offset, status, ack_id, strength)
WHERE kept.ledger_offset = told.ledger_offset AND told.strength >=
    CASE WHEN kept.status IN (1, 2) AND kept.ack_id <> '' THEN 2 WHEN kept.status <> 0 THEN 1 ELSE 0 END"""


class PostgresProjection:
    """
    The `Projection` of a database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> Mark | None:
        """
        See `Projection`.
        """
        async with self._database.transaction(READ) as connection:
            return await _mark(connection, _MARK)

    async def put(self, rows: Sequence[Row], mark: Mark, after_offset: int) -> None:
        """
        See `Projection`.
        """
        async with self._database.transaction(_WRITE) as connection:
            # Whoever else writes this table waits here, and then finds it moved.
            found = await _mark(connection, f"{_MARK} FOR UPDATE")
            if found is not None and found.ledger_id != mark.ledger_id:
                raise IndexOfAnother(found.ledger_id, mark.ledger_id)
            if (found.offset if found else 0) != after_offset:
                raise IndexMoved(found.offset if found else 0, after_offset)
            if rows:
                await connection.execute(_INSERT, *_columns([_values(row) for row in rows]))
                ends = {row.partition: row.offset for row in rows}
                counts = Counter(row.partition for row in rows)
                await connection.execute(_COUNT, *_columns([(name, counts[name], end) for name, end in ends.items()]))
            await connection.execute(_MOVE, *astuple(mark))

    async def cut(self, offset: int) -> None:
        """
        See `Projection`.
        """
        async with self._database.transaction(_WRITE, _CUT_TIMEOUT_S) as connection:
            await connection.execute(f"{_MARK} FOR UPDATE")
            if offset == 0:
                await connection.execute("TRUNCATE omen_signals, omen_signal_partitions")
                await connection.execute(_MOVE, "", "", 0, 0)
                return
            await connection.execute(_CUT, offset, timeout=_CUT_TIMEOUT_S)
            await connection.execute(_RECOUNT, offset, timeout=_CUT_TIMEOUT_S)
            await connection.execute("DELETE FROM omen_signal_partitions WHERE row_count = 0")
            await connection.execute(_STEP_BACK, offset)

    async def note(self, outcomes: Sequence[Outcome]) -> None:
        """
        See `Projection`.
        """
        told = [(each.offset, each.status, each.ack_id, each.strength) for each in merged(outcomes).values()]
        if told:
            async with self._database.transaction(_WRITE) as connection:
                await connection.execute(_NOTE, *_columns(told))


async def _mark(connection: Connection, sql: str) -> Mark | None:
    row = await connection.fetchrow(sql)
    return Mark(*row) if row and row[0] else None


def _values(row: Row) -> tuple[Any, ...]:
    return (
        row.offset,
        row.partition,
        row.ledger_index,
        row.signal_id,
        row.trace_id,
        row.input_event_hash,
        row.source_event_id,
        row.content_digest,
        row.emitted_ns,
        row.category,
        row.title,
        row.crc,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]

"""
The transactions that change the index. Each is one step in the writer's thread.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from omen_server.index import Mark, Outcome, merged
from omen_server.index.errors import IndexMoved, IndexOfAnother
from omen_server.index.row import Row
from omen_server.index.sqlite.paging import key_of
from omen_storage.sqlite.connection import transaction

_INSERT: Final = """
INSERT INTO omen_signals (ledger_offset, ledger_partition, ledger_index, signal_id, trace_id, input_event_hash,
                          source_event_id, content_digest, emitted_ns, latest_ns, category, title, crc,
                          trace_key, input_key, source_key)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_COUNT: Final = """
INSERT INTO omen_signal_partitions (ledger_partition, row_count, last_offset) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET row_count = row_count + excluded.row_count, last_offset = excluded.last_offset"""
_MOVE: Final = """
INSERT INTO omen_index (one, ledger_id, ledger_epoch, ledger_offset, crc) VALUES (1, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET ledger_id = excluded.ledger_id, ledger_epoch = excluded.ledger_epoch,
                          ledger_offset = excluded.ledger_offset, crc = excluded.crc"""
_RECOUNT: Final = """
UPDATE omen_signal_partitions SET (row_count, last_offset) = (
    SELECT count(*), coalesce(max(ledger_offset), 0) FROM omen_signals
    WHERE omen_signals.ledger_partition = omen_signal_partitions.ledger_partition
) WHERE last_offset > ?"""
_STEP_BACK: Final = """
UPDATE omen_index SET ledger_offset = ?1,
                      crc = coalesce((SELECT crc FROM omen_signals WHERE ledger_offset = ?1), 0)"""
# How much an outcome says is `Outcome.strength`; the ack and the delivery are what makes it 2.
_NOTE: Final = """
UPDATE omen_signals SET status = ?2, ack_id = ?3 WHERE ledger_offset = ?1 AND ?4 >=
    CASE WHEN status IN (1, 2) AND ack_id <> '' THEN 2 WHEN status <> 0 THEN 1 ELSE 0 END"""


def mark(connection: sqlite3.Connection) -> Mark | None:
    """
    See `Projection.mark`.
    """
    row = connection.execute("SELECT ledger_id, ledger_epoch, ledger_offset, crc FROM omen_index").fetchone()
    return Mark(*row) if row else None


def put(connection: sqlite3.Connection, rows: Sequence[Row], moved: Mark, after_offset: int) -> None:
    """
    See `Projection.put`.
    """
    with transaction(connection, "IMMEDIATE"):
        found = mark(connection)
        if found is not None and found.ledger_id != moved.ledger_id:
            raise IndexOfAnother(found.ledger_id, moved.ledger_id)
        if (found.offset if found else 0) != after_offset:
            raise IndexMoved(found.offset if found else 0, after_offset)
        if rows:
            _insert(connection, rows)
        connection.execute(_MOVE, (moved.ledger_id, moved.ledger_epoch, moved.offset, moved.crc))


def cut(connection: sqlite3.Connection, offset: int) -> None:
    """
    See `Projection.cut`.
    """
    with transaction(connection, "IMMEDIATE"):
        if offset == 0:
            # Without a condition, SQLite drops the pages and looks at no row.
            for table in ("omen_signals", "omen_signal_partitions", "omen_index"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand in the line above.
            return
        connection.execute("DELETE FROM omen_signals WHERE ledger_offset > ?", (offset,))
        connection.execute(_RECOUNT, (offset,))
        connection.execute("DELETE FROM omen_signal_partitions WHERE row_count = 0")
        connection.execute(_STEP_BACK, (offset,))


def note(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    """
    See `Projection.note`.
    """
    told = merged(outcomes).values()
    with transaction(connection, "IMMEDIATE"):
        connection.executemany(_NOTE, [(each.offset, each.status, each.ack_id, each.strength) for each in told])


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    last = connection.execute("SELECT latest_ns FROM omen_signals ORDER BY ledger_offset DESC LIMIT 1").fetchone()
    times = [row.emitted_ns for row in rows]
    latest = list(accumulate(times, max, initial=last[0] if last else times[0]))[1:]
    connection.executemany(
        _INSERT,
        [
            (
                row.offset,
                row.partition,
                row.ledger_index,
                row.signal_id,
                row.trace_id,
                row.input_event_hash,
                row.source_event_id,
                row.content_digest,
                row.emitted_ns,
                latest_ns,
                row.category,
                row.title,
                row.crc,
                key_of(row.trace_id),
                key_of(row.input_event_hash),
                key_of(row.source_event_id),
            )
            for row, latest_ns in zip(rows, latest, strict=True)
        ],
    )
    ends = {row.partition: row.offset for row in rows}
    counts = Counter(row.partition for row in rows)
    connection.executemany(_COUNT, [(name, counts[name], end) for name, end in ends.items()])

"""
How partitions stand, and past runs. Each method is one step in the connection's thread.
"""

import sqlite3
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from omen_storage.sqlite.connection import transaction
from omen_storage.sqlite.thread import Thread
from reconcile.v1.reconcile_service_pb2 import ReconcileResult, ReconcileState
from reconciler.state.errors import StateFailed
from reconciler.state.limits import StateLimits, bounded, check_page, checked, plain

_APPEND: Final = """
INSERT INTO reconcile_history (partition, run_id, result) VALUES (?, ?, ?)
ON CONFLICT (run_id, partition) WHERE run_id <> '' DO NOTHING"""
_TRIM: Final = """
DELETE FROM reconcile_history WHERE partition = ?1 AND number <= (
    SELECT number FROM reconcile_history WHERE partition = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
)"""
_STAND: Final = """
INSERT INTO reconcile_state (partition, state) VALUES (?, ?)
ON CONFLICT (partition) DO UPDATE SET state = excluded.state"""
_STATES: Final = """
SELECT state FROM reconcile_state WHERE ?1 = '' OR partition < ?1 ORDER BY partition DESC LIMIT ?2"""
_HISTORY: Final = "SELECT number, result FROM reconcile_history WHERE number < ? ORDER BY number DESC LIMIT ?"
_HISTORY_OF: Final = """
SELECT number, result FROM reconcile_history WHERE partition = ? AND number < ? ORDER BY number DESC LIMIT ?"""


class SqliteRuns:
    """
    The `Runs` of a file.
    """

    def __init__(self, thread: Thread, limits: StateLimits) -> None:
        self._thread = thread
        self._limits = limits

    async def save(self, result: ReconcileResult, state: ReconcileState | None) -> None:
        """
        See `Runs`.
        """
        checked(result, state)
        # Turned into bytes here: the caller's messages may change before the thread comes to them.
        row = (result.partition_date, result.run_id, result.SerializeToString())
        stands = None if state is None else state.SerializeToString()
        await self._thread.run(partial(save, row=row, state=stands, history_max=self._limits.history_max))

    async def get(self, partition: str) -> ReconcileState | None:
        """
        See `Runs`.
        """
        rows = await self._rows("SELECT state FROM reconcile_state WHERE partition = ?", plain(partition))
        return _state(*rows[0]) if rows else None

    async def states(self, before: str, count_max: int) -> list[ReconcileState]:
        """
        See `Runs`.
        """
        check_page(count_max)
        return [_state(*row) for row in await self._rows(_STATES, plain(before), count_max)]

    async def history(self, partition: str, before_number: int, count_max: int) -> list[tuple[int, ReconcileResult]]:
        """
        See `Runs`.
        """
        check_page(count_max)
        before = bounded(before_number or 1 << 62)
        if partition:
            rows = await self._rows(_HISTORY_OF, plain(partition), before, count_max)
        else:
            rows = await self._rows(_HISTORY, before, count_max)
        return [(number, _result(data)) for number, data in rows]

    async def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return await self._thread.run(lambda connection: connection.execute(sql, parameters).fetchall())


def save(connection: sqlite3.Connection, row: tuple[str, str, bytes], state: bytes | None, history_max: int) -> None:
    """
    See `Runs.save`. The run is *row*: its partition, its id, and its bytes.
    """
    partition = row[0]
    with transaction(connection, "IMMEDIATE"):
        connection.execute(_APPEND, row)
        connection.execute(_TRIM, (partition, history_max))
        if state is not None:
            connection.execute(_STAND, (partition, state))


def _state(data: bytes) -> ReconcileState:
    try:
        return ReconcileState.FromString(data)
    except DecodeError as error:
        raise StateFailed("a partition's state cannot be read") from error


def _result(data: bytes) -> ReconcileResult:
    try:
        return ReconcileResult.FromString(data)
    except DecodeError as error:
        raise StateFailed("a past run cannot be read") from error

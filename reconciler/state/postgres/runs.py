"""
How partitions stand, and past runs.
"""

from typing import Final

from google.protobuf.message import DecodeError

from omen_storage.postgres.connection import DURABLE, Database
from reconcile.v1.reconcile_service_pb2 import ReconcileResult, ReconcileState
from reconciler.state.errors import StateFailed
from reconciler.state.limits import StateLimits, bounded, check_page, checked, plain

_APPEND: Final = """
INSERT INTO reconcile_history (partition, run_id, result) VALUES ($1, $2, $3)
ON CONFLICT (run_id, partition) WHERE run_id <> '' DO NOTHING"""
_TRIM: Final = """
DELETE FROM reconcile_history WHERE partition = $1 AND number <= (
    SELECT number FROM reconcile_history WHERE partition = $1 ORDER BY number DESC LIMIT 1 OFFSET $2
)"""
_STAND: Final = """
INSERT INTO reconcile_state (partition, state) VALUES ($1, $2)
ON CONFLICT (partition) DO UPDATE SET state = excluded.state"""
_GET: Final = "SELECT state FROM reconcile_state WHERE partition = $1"
_STATES: Final = """
SELECT state FROM reconcile_state WHERE $1 = '' OR partition < $1 ORDER BY partition DESC LIMIT $2"""
_HISTORY: Final = """
SELECT number, result FROM reconcile_history WHERE number < $1 ORDER BY number DESC LIMIT $2"""
_HISTORY_OF: Final = """
SELECT number, result FROM reconcile_history WHERE number < $1 AND partition = $3 ORDER BY number DESC LIMIT $2"""


class PostgresRuns:
    """
    The `Runs` of a database.
    """

    def __init__(self, database: Database, limits: StateLimits) -> None:
        self._database = database
        self._limits = limits

    async def save(self, result: ReconcileResult, state: ReconcileState | None) -> None:
        """
        See `Runs`.
        """
        checked(result, state)
        # Turned into bytes here: the caller's messages may change while the database is waited for.
        partition, run_id, run = result.partition_date, result.run_id, result.SerializeToString()
        stands = None if state is None else state.SerializeToString()
        async with self._database.transaction(DURABLE) as connection:
            await connection.execute(_APPEND, partition, run_id, run)
            await connection.execute(_TRIM, partition, self._limits.history_max)
            if stands is not None:
                await connection.execute(_STAND, partition, stands)

    async def get(self, partition: str) -> ReconcileState | None:
        """
        See `Runs`.
        """
        found = await self._database.rows(_GET, plain(partition))
        return _state(*found[0]) if found else None

    async def states(self, before: str, count_max: int) -> list[ReconcileState]:
        """
        See `Runs`.
        """
        check_page(count_max)
        return [_state(*row) for row in await self._database.rows(_STATES, plain(before), count_max)]

    async def history(self, partition: str, before_number: int, count_max: int) -> list[tuple[int, ReconcileResult]]:
        """
        See `Runs`.
        """
        check_page(count_max)
        before = bounded(before_number or 1 << 62)
        if partition:
            found = await self._database.rows(_HISTORY_OF, before, count_max, plain(partition))
        else:
            found = await self._database.rows(_HISTORY, before, count_max)
        return [(number, _result(data)) for number, data in found]


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

"""
What RiskCast keeps refusing. Each method is one step in the connection's thread.
"""

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from omen_storage.sqlite.connection import transaction
from omen_storage.sqlite.thread import Thread
from reconcile.v1.reconcile_service_pb2 import ParkedSignal
from reconciler.state.attempt import Attempt, Refusals, merged, pointer
from reconciler.state.limits import PARK_ATTEMPTS, StateLimits, bounded, check_batch, check_page, plain

_DAY_US: Final = 86_400_000_000

_COLUMNS: Final = """signal_id, partition, ledger_sequence, ledger_index, code, reason, message, attempts,
    first_attempt_us, last_attempt_us, waived_reason"""
_PARKED: Final = f"attempts >= {PARK_ATTEMPTS}"
_IS_ANOTHER: Final = "DELETE FROM reconcile_parked WHERE partition = ? AND ledger_index = ? AND signal_id <> ?"
_CAME_ANOTHER_WAY: Final = f"DELETE FROM reconcile_parked WHERE last_attempt_us < ? AND NOT {_PARKED}"  # noqa: S608 - no value.
_AGAIN: Final = """
UPDATE reconcile_parked SET code = ?, reason = ?, message = ?, attempts = attempts + ?, last_attempt_us = ?
WHERE partition = ? AND ledger_index = ?"""
_FIRST: Final = f"INSERT INTO reconcile_parked ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')"  # noqa: S608 - the columns stand above.
_PAGE: Final = f"""
SELECT number, {_COLUMNS} FROM reconcile_parked
WHERE number > ?1 AND {_PARKED} AND ?2 IN ('', partition) AND (?3 OR waived_reason = '')
ORDER BY number LIMIT ?4"""  # noqa: S608 - the columns stand above.
_OF: Final = f"""
SELECT {_COLUMNS} FROM reconcile_parked
WHERE partition = ?1 AND {_PARKED} AND (?2 IS NULL OR ledger_index IN (SELECT value FROM json_each(?2)))
ORDER BY ledger_index"""  # noqa: S608 - the columns stand above.
_FORGET: Final = """
DELETE FROM reconcile_parked WHERE partition = ? AND ledger_index IN (SELECT value FROM json_each(?))"""
_WAIVE: Final = f"""
UPDATE reconcile_parked SET waived_reason = ? WHERE signal_id IN (SELECT value FROM json_each(?)) AND {_PARKED}"""  # noqa: S608 - no value.
_COUNT: Final = f"""
SELECT count(*) FROM reconcile_parked WHERE {_PARKED} AND waived_reason = '' AND ?1 IN ('', partition)"""  # noqa: S608 - no value.


class SqliteParked:
    """
    The `Parked` of a file.
    """

    def __init__(self, thread: Thread, limits: StateLimits) -> None:
        self._thread = thread
        self._limits = limits

    async def count_attempts(self, attempts: Sequence[Attempt]) -> None:
        """
        See `Parked`.
        """
        check_batch(attempts)
        if attempts:
            await self._thread.run(partial(count_attempts, told=merged(attempts), limits=self._limits))

    async def forget(self, partition: str, indexes: Sequence[int]) -> None:
        """
        See `Parked`.
        """
        check_batch(indexes)
        if indexes:
            await self._change(_FORGET, plain(partition), _list(indexes))

    async def page(
        self, partition: str, include_waived: bool, after_number: int, count_max: int
    ) -> list[tuple[int, ParkedSignal]]:
        """
        See `Parked`.
        """
        check_page(count_max)
        rows = await self._rows(_PAGE, bounded(after_number), plain(partition), include_waived, count_max)
        return [(number, pointer(row)) for number, *row in rows]

    async def of(self, partition: str, indexes: Sequence[int] | None) -> list[ParkedSignal]:
        """
        See `Parked`.
        """
        check_batch(indexes or ())
        rows = await self._rows(_OF, plain(partition), None if indexes is None else _list(indexes))
        return [pointer(row) for row in rows]

    async def waive(self, signal_ids: Sequence[str], reason: str) -> int:
        """
        See `Parked`.
        """
        check_batch(signal_ids)
        if not reason:
            raise ValueError("a waiver needs a reason")
        return await self._change(_WAIVE, plain(reason), json.dumps([plain(each) for each in signal_ids]))

    async def count(self, partition: str = "") -> int:
        """
        See `Parked`.
        """
        ((count,),) = await self._rows(_COUNT, plain(partition))
        return int(count)

    async def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return await self._thread.run(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _change(self, sql: str, *parameters: object) -> int:
        def change(connection: sqlite3.Connection) -> int:
            with transaction(connection, "IMMEDIATE"):
                return connection.execute(sql, parameters).rowcount

        return await self._thread.run(change)


def count_attempts(connection: sqlite3.Connection, told: Sequence[Refusals], limits: StateLimits) -> None:
    """
    See `Parked.count_attempts`.
    """
    newest_us = max(each.last_us for each in told)
    with transaction(connection, "IMMEDIATE"):
        connection.execute(_CAME_ANOTHER_WAY, (newest_us - limits.refused_days_max * _DAY_US,))
        places = [(each.last.partition, each.last.ledger_index, each.last.signal_id) for each in told]
        connection.executemany(_IS_ANOTHER, places)
        (kept,) = connection.execute("SELECT count(*) FROM reconcile_parked").fetchone()
        for each in told:
            last = each.last
            again = (last.code, last.reason, last.message, each.count, each.last_us, last.partition, last.ledger_index)
            if connection.execute(_AGAIN, again).rowcount or kept >= limits.parked_max:
                continue
            connection.execute(_FIRST, _first(each))
            kept += 1


def _first(told: Refusals) -> tuple[object, ...]:
    last = told.last
    place = (last.signal_id, last.partition, last.ledger_sequence, last.ledger_index)
    return (*place, last.code, last.reason, last.message, told.count, told.first_us, told.last_us)


def _list(indexes: Sequence[int]) -> str:
    return json.dumps([bounded(each) for each in indexes])

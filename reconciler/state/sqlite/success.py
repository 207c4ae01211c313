"""
When reconciling last left nothing missing: two columns of the one row.
"""

import sqlite3
from datetime import datetime
from functools import partial
from typing import Final

from omen_storage.sqlite.connection import transaction
from omen_storage.sqlite.thread import Thread
from reconciler.state.attempt import time_of, us_of

_LAST: Final = "SELECT success_us FROM reconcile_control"
_NOTE: Final = "UPDATE reconcile_control SET success_us = max(coalesce(success_us, ?1), ?1)"
_AWAITED: Final = "SELECT awaited_since_us FROM reconcile_control"
_AWAIT: Final = "UPDATE reconcile_control SET awaited_since_us = ? WHERE awaited_since_us IS NULL"


class SqliteSuccess:
    """
    The `Success` of a file.
    """

    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    async def last(self) -> datetime | None:
        """
        See `Success`.
        """
        found = await self._thread.run(partial(_one, sql=_LAST))
        return None if found is None else time_of(found)

    async def awaited_since(self, now: datetime) -> datetime:
        """
        See `Success`.
        """
        found = await self._thread.run(partial(_awaited_since, now_us=us_of(now)))
        return time_of(found)

    async def note(self, at: datetime) -> None:
        """
        See `Success`.
        """
        await self._thread.run(partial(_note, at_us=us_of(at)))


def _one(connection: sqlite3.Connection, sql: str) -> int | None:
    (value,) = connection.execute(sql).fetchone()
    return None if value is None else int(value)


def _awaited_since(connection: sqlite3.Connection, now_us: int) -> int:
    with transaction(connection, "IMMEDIATE"):
        connection.execute(_AWAIT, (now_us,))
        return _one(connection, _AWAITED) or 0


def _note(connection: sqlite3.Connection, at_us: int) -> None:
    with transaction(connection, "IMMEDIATE"):
        connection.execute(_NOTE, (at_us,))

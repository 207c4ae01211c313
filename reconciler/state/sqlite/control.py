"""
The orders and the lease: one row. Each method is one step in the connection's thread.
"""

import sqlite3
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from omen_storage.sqlite.connection import transaction
from omen_storage.sqlite.thread import Thread
from reconciler.state import Lease
from reconciler.state.attempt import us_of
from reconciler.state.limits import check_lease, check_rate, plain

_HOLD: Final = """
UPDATE reconcile_control SET lease_owner = ?1, lease_until_us = ?2
WHERE lease_owner IN ('', ?1) OR lease_until_us <= ?3"""
_RELEASE: Final = "UPDATE reconcile_control SET lease_owner = '', lease_until_us = 0 WHERE lease_owner = ?"


class SqliteControl:
    """
    The `Control` of a file.
    """

    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    async def paused(self) -> str | None:
        """
        See `Control`.
        """
        reason: str | None = await self._thread.run(_paused)
        return reason

    async def pause(self, reason: str) -> bool:
        """
        See `Control`.
        """
        return await self._thread.run(partial(_set_paused, reason=plain(reason)))

    async def resume(self) -> bool:
        """
        See `Control`.
        """
        return await self._thread.run(partial(_set_paused, reason=None))

    async def rate(self) -> float | None:
        """
        See `Control`.
        """
        found: float | None = await self._thread.run(partial(_one, column="signals_per_second"))
        return found

    async def set_rate(self, signals_per_second: float) -> None:
        """
        See `Control`.
        """
        check_rate(signals_per_second)
        await self._change("UPDATE reconcile_control SET signals_per_second = ?", float(signals_per_second))

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        See `Control`.
        """
        check_lease(owner, ttl_s)
        until = now + timedelta(seconds=ttl_s)
        return Lease(owner, until) if await self._change(_HOLD, owner, us_of(until), us_of(now)) else None

    async def release(self, owner: str) -> None:
        """
        See `Control`.
        """
        await self._change(_RELEASE, plain(owner))

    async def _change(self, sql: str, *parameters: object) -> int:
        def change(connection: sqlite3.Connection) -> int:
            with transaction(connection, "IMMEDIATE"):
                return connection.execute(sql, parameters).rowcount

        return await self._thread.run(change)


def _paused(connection: sqlite3.Connection) -> Any:
    return _one(connection, "paused_reason")


def _set_paused(connection: sqlite3.Connection, reason: str | None) -> bool:
    with transaction(connection, "IMMEDIATE"):
        before = _paused(connection)
        connection.execute("UPDATE reconcile_control SET paused_reason = ?", (reason,))
    return before is not None


def _one(connection: sqlite3.Connection, column: str) -> Any:
    (value,) = connection.execute(f"SELECT {column} FROM reconcile_control").fetchone()  # noqa: S608 - our own column.
    return value

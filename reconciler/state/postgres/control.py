"""
The orders and the lease: one row.
"""

from datetime import datetime, timedelta
from typing import Final

from omen_storage.postgres.connection import DURABLE, Database
from reconciler.state import Lease
from reconciler.state.attempt import us_of
from reconciler.state.limits import check_lease, check_rate, plain

_PAUSED: Final = "SELECT paused_reason FROM reconcile_control"
_SET_PAUSED: Final = "UPDATE reconcile_control SET paused_reason = $1"
# Whoever comes second waits for the row, and then looks at it again.
_HOLD: Final = """
UPDATE reconcile_control SET lease_owner = $1, lease_until_us = $2
WHERE lease_owner IN ('', $1) OR lease_until_us <= $3"""
_RELEASE: Final = "UPDATE reconcile_control SET lease_owner = '', lease_until_us = 0 WHERE lease_owner = $1"


class PostgresControl:
    """
    The `Control` of a database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def paused(self) -> str | None:
        """
        See `Control`.
        """
        ((reason,),) = await self._database.rows(_PAUSED)
        return None if reason is None else str(reason)

    async def pause(self, reason: str) -> bool:
        """
        See `Control`.
        """
        return await self._set_paused(plain(reason))

    async def resume(self) -> bool:
        """
        See `Control`.
        """
        return await self._set_paused(None)

    async def rate(self) -> float | None:
        """
        See `Control`.
        """
        ((rate,),) = await self._database.rows("SELECT signals_per_second FROM reconcile_control")
        return None if rate is None else float(rate)

    async def set_rate(self, signals_per_second: float) -> None:
        """
        See `Control`.
        """
        check_rate(signals_per_second)
        await self._database.change("UPDATE reconcile_control SET signals_per_second = $1", float(signals_per_second))

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        See `Control`.
        """
        check_lease(owner, ttl_s)
        until = now + timedelta(seconds=ttl_s)
        return Lease(owner, until) if await self._database.change(_HOLD, owner, us_of(until), us_of(now)) else None

    async def release(self, owner: str) -> None:
        """
        See `Control`.
        """
        await self._database.change(_RELEASE, plain(owner))

    async def _set_paused(self, reason: str | None) -> bool:
        async with self._database.transaction(DURABLE) as connection:
            before = await connection.fetchval(f"{_PAUSED} FOR UPDATE")
            await connection.execute(_SET_PAUSED, reason)
        return before is not None

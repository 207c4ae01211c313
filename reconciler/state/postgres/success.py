"""
When reconciling last left nothing missing: two columns of the one row.
"""

from datetime import datetime
from typing import Final

from omen_storage.postgres.connection import Database
from reconciler.state.attempt import time_of, us_of

_LAST: Final = "SELECT success_us FROM reconcile_control"
_NOTE: Final = "UPDATE reconcile_control SET success_us = greatest(success_us, $1)"
_AWAITED: Final = "SELECT awaited_since_us FROM reconcile_control"
# Of those that start together one is first; the others then read its time.
_AWAIT: Final = "UPDATE reconcile_control SET awaited_since_us = $1 WHERE awaited_since_us IS NULL"


class PostgresSuccess:
    """
    The `Success` of a database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self) -> datetime | None:
        """
        See `Success`.
        """
        ((at_us,),) = await self._database.rows(_LAST)
        return None if at_us is None else time_of(at_us)

    async def awaited_since(self, now: datetime) -> datetime:
        """
        See `Success`.
        """
        await self._database.change(_AWAIT, us_of(now))
        ((at_us,),) = await self._database.rows(_AWAITED)
        return time_of(at_us)

    async def note(self, at: datetime) -> None:
        """
        See `Success`.
        """
        await self._database.change(_NOTE, us_of(at))

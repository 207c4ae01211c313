import asyncio
import time
from collections.abc import Callable

from omen_server.ledger.ledger import Ledger

LOOK_INTERVAL_S = 5.0


class LedgerSize:
    """
    How large the ledger is, for whoever asks often: the directories are looked at once in a while, by one at a time.

    In between, the records are those found and what was appended since; the bytes are as of the last look. Only that
    nothing was there is not told again once there is something: the first signal has a size.
    """

    def __init__(
        self,
        ledger: Ledger,
        interval_s: float = LOOK_INTERVAL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._looking = asyncio.Lock()
        self._found: tuple[int, int] | None = None
        self._looked_s = 0.0
        self._offset = 0

    async def __call__(self) -> tuple[int, int]:
        """
        Return the records and the bytes.
        """
        async with self._looking:
            is_old = self._monotonic() - self._looked_s >= self._interval_s
            was_empty = self._offset == 0 and self._ledger.durable_offset > 0
            if self._found is None or is_old or was_empty:
                # The offset first: what is appended during the look is counted twice for a moment, and never missed.
                self._offset = self._ledger.durable_offset
                self._found = await self._ledger.size()
                self._looked_s = self._monotonic()
                return self._found
            records, size_bytes = self._found
        return records + self._ledger.durable_offset - self._offset, size_bytes

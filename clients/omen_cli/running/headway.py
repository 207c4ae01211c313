"""
How far a server is that takes long to start: what its metrics tell while it opens its ledger and indexes it.
"""

import asyncio
import math
import re
from contextlib import suppress

SERIES = re.compile(rb"^(omen_index_lag_records|omen_ledger_recovered_bytes_total) (\S+)$", re.MULTILINE)
REPLY_BYTES_MAX = 1 << 20
REPLY_TIMEOUT_S = 2.0


class Headway:
    """
    Watches one start. What counts is that it gets further than it ever was: one that dies and begins anew, again and
    again, gets nowhere.
    """

    def __init__(self, metrics: str) -> None:
        self._metrics = metrics
        self._left, self._recovered = math.inf, 0.0

    async def look(self) -> bool:
        """
        Tell whether the server has got further since the last look.
        """
        if not self._metrics:
            return False
        found = {name: float(value) for name, value in SERIES.findall(await page(self._metrics))}
        # Before it begins there is nothing left to do, as there is afterwards.
        left = found.get(b"omen_index_lag_records", 0.0) or math.inf
        recovered = found.get(b"omen_ledger_recovered_bytes_total", 0.0)
        moved = left < self._left or recovered > self._recovered
        self._left, self._recovered = min(left, self._left), max(recovered, self._recovered)
        return moved

    @property
    def words(self) -> str:
        """
        Return how far it is.
        """
        return f"{self._left:,.0f} records to index" if self._left < math.inf else "opening the ledger"


async def page(address: str) -> bytes:
    """
    Return what a server tells at /metrics; nothing when it does not answer.
    """
    host, _, port = address.rpartition(":")
    text = b""
    with suppress(OSError):  # TimeoutError is one.
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                while len(text) < REPLY_BYTES_MAX and (more := await reader.read(REPLY_BYTES_MAX)):
                    text += more
            finally:
                writer.close()
    return text

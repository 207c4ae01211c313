import asyncio
from typing import Any

from omen_client import OmenClient, Streamed


class Listener:
    """
    A subscriber that remembers what it was sent.
    """

    def __init__(self, client: OmenClient, **asked: Any) -> None:
        self.offsets: list[int] = []
        self.stream = client.stream(**(asked or {"from_beginning": True}), heartbeat_s=1)
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def heard(self, count: int) -> None:
        """
        Wait until it has been sent so many signals, each counted as often as it came.
        """
        async with asyncio.timeout(30):
            while len(self.offsets) < count and not self._task.done():
                self._more.clear()
                await self._more.wait()
        assert len(self.offsets) >= count, self._task

    async def through(self, offset: int) -> None:
        """
        Wait until it has been sent the signal at *offset*.
        """
        async with asyncio.timeout(30):
            while offset not in self.offsets[-1:] and not self._task.done():
                self._more.clear()
                await self._more.wait()
        assert offset in self.offsets, self._task

    async def end(self) -> None:
        """
        Listen no more.
        """
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.stream.aclose()

    async def _listen(self) -> None:
        try:
            async for item in self.stream:
                assert isinstance(item, Streamed)
                self.offsets.append(item.event.ledger_offset)
                self._more.set()
        finally:
            self._more.set()

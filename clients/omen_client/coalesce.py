"""
Many callers, few calls: whatever gathers while a call is in flight goes out as the next one.

There is no timer: a caller alone is sent at once, and the busier it gets the larger the batches become. One message
costs twenty times a signal inside a batch, so this is where a plain caller gets its speed. A second call is begun only
for a whole batch: two half ones would cost both ends more than waiting does.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

BATCH_ITEMS_MAX = 500
BATCH_BYTES_MAX = 900 << 10  # A request may be 1 MiB; the rest is for its frame.
CALLS_MAX = 2
WAITING_MAX = 10_000


@dataclass(slots=True)
class Waiting(Generic[Item, Outcome]):
    """
    One caller's item, its size, and where its outcome goes.
    """

    item: Item
    size_bytes: int
    future: asyncio.Future[Outcome]


class Coalescer(Generic[Item, Outcome]):
    """
    Sends items in batches and gives each caller the outcome of its own.

    *send* takes a batch and returns an outcome or an exception for each item, in order; what it raises, every caller of
    that batch gets. A caller that goes away leaves the others alone: its item is dropped if it has not been sent.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        *,
        items_max: int = BATCH_ITEMS_MAX,
        bytes_max: int = BATCH_BYTES_MAX,
        calls_max: int = CALLS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._send = send
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._calls_max = calls_max
        self._waiting: deque[Waiting[Item, Outcome]] = deque()
        self._waiting_bytes = 0
        self._room = asyncio.Semaphore(waiting_max)
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item, size_bytes: int) -> Outcome:
        """
        Send *item* with the next batch and return its outcome. Waits for room when too many wait already.
        """
        async with self._room:
            entry: Waiting[Item, Outcome] = Waiting(item, size_bytes, asyncio.get_running_loop().create_future())
            self._waiting.append(entry)
            self._waiting_bytes += size_bytes
            self._start()
            return await entry.future

    async def close(self) -> None:
        """
        Cancel what is in flight; everybody who waits gets CancelledError.
        """
        for entry in self._waiting:
            entry.future.cancel()
        self._waiting.clear()
        self._waiting_bytes = 0
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _start(self) -> None:
        while self._may_start() and (batch := self._next_batch()):
            call = asyncio.create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _may_start(self) -> bool:
        if not self._calls:
            return True
        whole = len(self._waiting) >= self._items_max or self._waiting_bytes >= self._bytes_max
        return whole and len(self._calls) < self._calls_max

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            self._start()

    def _next_batch(self) -> list[Waiting[Item, Outcome]]:
        """
        Take what one call has room for, without the items nobody waits for any more.
        """
        batch: list[Waiting[Item, Outcome]] = []
        size = 0
        while self._waiting and len(batch) < self._items_max:
            entry = self._waiting[0]
            if batch and size + entry.size_bytes > self._bytes_max:
                break
            self._waiting.popleft()
            self._waiting_bytes -= entry.size_bytes
            if not entry.future.done():
                batch.append(entry)
                size += entry.size_bytes
        return batch

    async def _call(self, batch: Sequence[Waiting[Item, Outcome]]) -> None:
        try:
            outcomes: Sequence[Outcome | Exception] = await self._send([entry.item for entry in batch])
        except asyncio.CancelledError:
            for entry in batch:
                entry.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is every caller's answer
            outcomes = [error] * len(batch)
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, Exception):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)

"""
Calls that carry one thing each, taken together when they come together.

Each by itself would make its own way into the store and be counted and woken by itself, which takes longer than to keep
it, and a transaction is as much work as a dozen signals. So whoever comes is taken with whoever else is just coming.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final, Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Take: TypeAlias = Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]]

# With so many a batch is worth its while. Fewer wait until so many turns of the loop, which take microseconds where
# nobody comes, have brought nobody.
FULL: Final = 32
IDLE_TURNS_MAX: Final = 8


class Batcher(Generic[Item, Outcome]):
    """
    Hands items to *take* in batches, and each outcome to whoever brought the item.
    """

    def __init__(self, take: Take[Item, Outcome]) -> None:
        self._take = take
        self._open: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def outcome(self, item: Item) -> Outcome:
        """
        Return what became of *item*, or raise it. A caller that is cancelled before the batch is taken is left out.
        """
        loop = asyncio.get_running_loop()
        batch = self._open
        future: asyncio.Future[Outcome] = loop.create_future()
        batch.append((item, future))
        if len(batch) == 1:
            # Nothing of the first caller's, like its span or its name, is the batch's.
            task = loop.create_task(self._carry(batch), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(batch) == FULL:
            self._open = []
        return await future

    async def _carry(self, batch: list[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        idle_turns = 0
        while idle_turns < IDLE_TURNS_MAX and batch is self._open:
            before = len(batch)
            await asyncio.sleep(0)
            idle_turns = idle_turns + 1 if len(batch) == before else 0
        if batch is self._open:
            self._open = []
        wanted = [(item, future) for item, future in batch if not future.done()]
        if not wanted:
            return
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = await self._take([item for item, _ in wanted])
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
            outcomes = [error] * len(wanted)
        for (_, future), outcome in zip(wanted, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

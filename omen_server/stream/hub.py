import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress

import structlog

from omen_rpc.paging import ITEMS_BYTES_MAX
from omen_server.ledger.partition import Gap
from omen_server.stream.cursor import Cursors
from omen_server.stream.filter import Filter
from omen_server.stream.frame import Frame
from omen_server.stream.group import Group
from omen_server.stream.limits import Limits
from omen_server.tail import Committed, Tail, last_offset

# How often those who wait look at the clock: no heartbeat is late by more, so they are sent as much early.
BEAT_S = 0.25
RETRY_S = 1.0

log = structlog.get_logger()


class Hub:
    """
    Follows the ledger's end once for all subscribers, and keeps the last of it: a ring of groups, oldest out.

    It pushes nothing: who has sent a group looks for the one behind it, and finds that it is gone when it was too slow.
    """

    def __init__(self, tail: Tail, cursors: Cursors, limits: Limits) -> None:
        self._tail = tail
        self._cursors = cursors
        self._limits = limits
        self._groups: dict[int, Group] = {}  # By first offset, in their order.
        self._records = self._bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.offset = tail.durable_offset
        self.moved = asyncio.Event()

    def start(self) -> None:
        """
        Begin to follow, at what is durable now. Starting twice is starting once.
        """
        if not self._tasks:
            self.offset = self._tail.durable_offset
            self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._beat())]

    async def close(self) -> None:
        """
        Stop following. Closing twice is closing once.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def add(self, batch: Sequence[Committed | Gap]) -> None:
        """
        Put what was committed at the ring's end, and let go of the oldest beyond the limits.
        """
        last = next(reversed(self._groups.values()), None)
        for item in batch:
            if isinstance(item, Gap):
                last = self._put(Group(item, self._cursors))
                continue
            before = last.size_bytes if last is not None else 0
            if last is not None and last.takes(item, ITEMS_BYTES_MAX):
                self._bytes += last.size_bytes - before
                self._records += 1
            else:
                last = self._put(Group([item], self._cursors))
        self.offset = last_offset(batch)
        self._trim()
        self.wake()

    def wake(self) -> None:
        """
        Let all who wait look again.
        """
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    def reaches(self, offset: int) -> bool:
        """
        Tell whether all that follows *offset* is here or is still to come.
        """
        oldest = next(iter(self._groups), self.offset + 1)
        return offset + 1 >= oldest

    def group_behind(self, offset: int) -> Group | None:
        """
        Return the group with the offset behind *offset*; None when it is still to come.
        """
        found = self._groups.get(offset + 1)
        if found is None and offset < self.offset:  # In the middle of one: rare, only at the hand-over from the ledger.
            groups = self._groups.values()
            found = next((group for group in groups if group.first_offset <= offset < group.last_offset), None)
        return found

    def frames(self, group: Group, wanted: Filter, count_max: int, after_offset: int) -> tuple[Frame, ...]:
        """
        Return the frames of a group for one filter.
        """
        before = group.size_bytes
        frames = group.frames(wanted, count_max, after_offset, self._limits.shared_filters_max)
        if self._groups.get(group.first_offset) is group:
            self._bytes += group.size_bytes - before
            self._trim()
        return frames

    def _put(self, group: Group) -> Group:
        self._groups[group.first_offset] = group
        self._bytes += group.size_bytes
        self._records += group.records
        return group

    def _trim(self) -> None:
        limits = self._limits
        while self._groups and (self._records > limits.ring_records_max or self._bytes > limits.ring_bytes_max):
            gone = self._groups.pop(next(iter(self._groups)))
            self._records -= gone.records
            self._bytes -= gone.size_bytes

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._tail.follow(self.offset)) as batches:
                    async for batch in batches:
                        self.add(batch)
            except Exception:  # A background loop: without it every live stream would stand still and look alive.
                log.exception("stream_follow_failed", offset=self.offset)
                await asyncio.sleep(RETRY_S)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.wake()

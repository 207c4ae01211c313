"""
The one task that has things written, by the one thread that may.

Whoever puts waits in line; each transaction takes whoever waits, so that they share one fsync. The task belongs to the
store and not to a caller: one who is cancelled leaves the line or not, but no transaction open.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from riskcast_server.store import Arrival, Receipt
from riskcast_server.store.errors import StoreBusy, StoreError, StoreFailed, StoreUnavailable
from riskcast_server.store.limits import Clock, NewAcks, StoreLimits
from riskcast_server.store.sqlite.connection import AckTaken
from riskcast_server.store.sqlite.group import Group
from riskcast_server.store.sqlite.thread import WriterThread

# Digests wait without anyone waiting for them; beyond this they are computed again at the next comparison.
DIGESTS_WAITING_MAX: Final = 16_384

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_INSERT_DIGEST: Final = """
INSERT INTO block_cache (ledger_partition, block, h1, h2)
SELECT ?, ?, ?, ? WHERE (SELECT generation FROM store_meta) = ? ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    One put in line. `done` is the caller's; it may be cancelled at any time.
    """

    arrivals: Sequence[Arrival]
    size_bytes: int
    done: asyncio.Future[list[Receipt]]


@dataclass(frozen=True, slots=True)
class Digest:
    """
    The digest of a complete block, in the columns' signed integers, and the generation it was read under.
    """

    partition: str
    block: int
    h1: int
    h2: int
    generation: int


class Writer:
    """
    Commits what waits, in order. *thread* writes for nobody else.
    """

    def __init__(self, thread: WriterThread, limits: StoreLimits, now: Clock, acks: NewAcks) -> None:
        self._thread = thread
        self._limits = limits
        self._now = now
        self._acks = acks
        self._line: deque[Waiting] = deque()
        self._signals = 0
        self._bytes = 0
        self._digests: dict[tuple[str, int], Digest] = {}
        self._work = asyncio.Event()
        self._closing = False
        self._failed: StoreError | None = None
        self._task = asyncio.create_task(self._run(), name="store writer")

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        Wait in line, and return the receipts once they are durable.
        """
        if self._failed is not None:
            raise StoreFailed(str(self._failed)) from self._failed
        if self._closing:
            raise StoreUnavailable("the store is closing")
        size_bytes = sum(len(arrival.signal_data) for arrival in arrivals)
        signals, total_bytes = self._signals + len(arrivals), self._bytes + size_bytes
        # Only an empty line takes what is too much by itself: it could never be stored otherwise.
        if self._signals and (
            signals > self._limits.waiting_signals_max or total_bytes > self._limits.waiting_bytes_max
        ):
            raise StoreBusy(self._signals, self._bytes)
        waiting = Waiting(arrivals, size_bytes, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self._signals, self._bytes = signals, total_bytes
        self._work.set()
        return await waiting.done

    def remember(self, digests: Sequence[Digest]) -> None:
        """
        Cache *digests* when there is time. Losing them costs no more than computing them again.
        """
        for digest in digests[: DIGESTS_WAITING_MAX - len(self._digests)]:
            self._digests[digest.partition, digest.block] = digest
        self._work.set()

    async def close(self) -> None:
        """
        Commit everything in line.
        """
        self._closing = True
        self._work.set()
        await self._task

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            if self._digests:
                await self._cache()  # First, and there are few: after the line they might wait for ever.
            elif self._line:
                await self._answer(self._take())
            elif self._closing:
                return
            else:
                self._work.clear()

    def _take(self) -> list[Waiting]:
        group = [self._line.popleft()]  # However large: a put is stored as a whole or not at all.
        signals = len(group[0].arrivals)
        while self._line and signals + len(self._line[0].arrivals) <= self._limits.group_signals_max:
            group.append(self._line.popleft())
            signals += len(group[-1].arrivals)
        return group

    async def _answer(self, group: Sequence[Waiting]) -> None:
        try:
            receipts = iter(await self._commit(group))
        except StoreError as error:
            self._disappoint(group, error)
        except Exception as error:  # noqa: BLE001 - the loop of a task: a bug here must reach whoever waits, and the process.
            self._disappoint(group, StoreFailed(f"the writer broke: {error!r}"))
        else:
            for waiting in group:
                answer = [next(receipts) for _ in waiting.arrivals]
                if not waiting.done.done():
                    waiting.done.set_result(answer)
        finally:
            self._signals -= sum(len(waiting.arrivals) for waiting in group)
            self._bytes -= sum(waiting.size_bytes for waiting in group)

    def _disappoint(self, group: Sequence[Waiting], error: StoreError) -> None:
        if isinstance(error, StoreFailed):
            self._failed = error
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    async def _commit(self, group: Sequence[Waiting]) -> list[Receipt]:
        arrivals = [arrival for waiting in group for arrival in waiting.arrivals]
        for _ in range(self._limits.attempts_max):
            with suppress(AckTaken):
                return await self._attempt(arrivals)
        raise StoreFailed(f"{self._limits.attempts_max} draws brought no ack that is free")

    async def _attempt(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        at_us = (self._now() - EPOCH) // timedelta(microseconds=1)
        if not arrivals:
            await self._thread.transact(partial(_probe, at_us))
            return []
        group = Group(arrivals, self._acks(len(arrivals)), at_us)
        await self._thread.transact(group.store)
        return group.receipts()

    async def _cache(self) -> None:
        digests = list(self._digests.values())
        self._digests.clear()
        # Nobody waits for these: what hinders it will be told to the next one who puts.
        with suppress(StoreError):
            await self._thread.transact(partial(_keep, digests))


def _probe(at_us: int, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE store_meta SET probed_at = ?", (at_us,))


def _keep(digests: Sequence[Digest], connection: sqlite3.Connection) -> None:
    rows = [(each.partition, each.block, each.h1, each.h2, each.generation) for each in digests]
    connection.executemany(_INSERT_DIGEST, rows)

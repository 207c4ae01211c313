"""
The one task that writes, over the one connection that may.

Whoever puts waits in line; each transaction takes whoever waits, so that they share one fsync. The task belongs to the
store and not to a caller: one who is cancelled leaves the line or not, but no transaction open.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiosqlite

from riskcast_server.store import Arrival, Receipt
from riskcast_server.store.errors import StoreBusy, StoreError, StoreFailed, StoreFull, StoreUnavailable
from riskcast_server.store.limits import Clock, NewAck, StoreLimits
from riskcast_server.store.sqlite.connection import AckTaken, connect_writer, translated
from riskcast_server.store.sqlite.group import Group

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
    Commits what waits, in order. *connection* is its own from here on.
    """

    def __init__(
        self, connection: aiosqlite.Connection, path: Path, limits: StoreLimits, now: Clock, ack: NewAck
    ) -> None:
        self._connection: aiosqlite.Connection | None = connection
        self._path = path
        self._limits = limits
        self._now = now
        self._ack = ack
        self._line: deque[Waiting] = deque()
        self._signals = 0
        self._bytes = 0
        self._digests: dict[tuple[str, int], Digest] = {}
        self._work = asyncio.Event()
        self._closing = False
        self._failed: StoreError | None = None
        self._in_doubt = False
        self._task = asyncio.create_task(self._run(), name="store writer")

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        Wait in line, and return the receipts once they are durable.
        """
        if self._failed is not None:
            raise StoreFailed(str(self._failed)) from self._failed
        if self._closing:
            raise StoreUnavailable("the store is closing")
        size_bytes = sum(arrival.event.ByteSize() for arrival in arrivals)
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
        Commit everything in line, move the log into the database, and close the connection.
        """
        self._closing = True
        self._work.set()
        await self._task
        if self._connection is not None:
            # What is in the log is durable there; a checkpoint that fails is made up for at the next opening.
            with suppress(aiosqlite.Error):
                await self._connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            await self._abandon()

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
            receipts = iter(await self._commit([arrival for waiting in group for arrival in waiting.arrivals]))
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
        self._in_doubt |= not isinstance(error, StoreFull)  # Then nothing was lost but the room to go on.
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    async def _commit(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        for _ in range(self._limits.attempts_max):
            with suppress(AckTaken):
                return await self._attempt(arrivals)
        raise StoreFailed(f"{self._limits.attempts_max} draws brought no ack that is free")

    async def _attempt(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        at_us = (self._now() - EPOCH) // timedelta(microseconds=1)
        async with self._transaction() as connection:
            if not arrivals:
                await connection.execute_fetchall("UPDATE store_meta SET probed_at = ?", (at_us,))
                return []
            return await Group(arrivals, [self._ack() for _ in arrivals], at_us).store(connection)

    async def _cache(self) -> None:
        rows = [(each.partition, each.block, each.h1, each.h2, each.generation) for each in self._digests.values()]
        self._digests.clear()
        # Nobody waits for these: what hinders it will be told to the next one who puts.
        with suppress(StoreError):
            async with self._transaction() as connection:
                await connection.executemany(_INSERT_DIGEST, rows)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """
        Commit what the block does, or leave no trace of it and of the connection.
        """
        with translated():
            try:
                connection = self._connection = self._connection or await self._reopen()
                await connection.execute("BEGIN IMMEDIATE")
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                # After a failed commit nobody knows what the connection believes. The next transaction opens another.
                await self._abandon()
                raise

    async def _reopen(self) -> aiosqlite.Connection:
        """
        Open the connection again after a failure.

        A failed fsync may leave frames in the log that can be read and are not on the disk. Copying the whole log into
        the database, with new fsyncs, makes what can be read durable, before any of it is acknowledged as a duplicate.
        """
        connection = await connect_writer(self._path, self._limits.busy_timeout_ms)
        try:
            if self._in_doubt:
                ((busy, _, _),) = await connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                _refuse_busy(busy)
        except BaseException:
            await connection.close()
            raise
        self._in_doubt = False
        return connection

    async def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing rolls back. One that cannot be closed is dropped all the same.
            with suppress(aiosqlite.Error):
                await connection.close()


def _refuse_busy(busy: int) -> None:
    if busy:
        raise StoreUnavailable("somebody who reads keeps the log from being copied")

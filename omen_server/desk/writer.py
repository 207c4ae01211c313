"""
The one task that writes, over the one connection that may.

Some wait until what they write is durable: they share a transaction and its sync. The rest is handed over in bulk now
and then, unsynced: whoever loses that in a power cut has lost what can be seen again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import aiosqlite
import structlog

from omen_rpc import logs
from omen_server.desk.connection import connect_writer, translated
from omen_server.desk.errors import DeskBusy, DeskError, DeskFailed, DeskUnavailable
from omen_server.desk.settings import DeskSettings

Answer = TypeVar("Answer")
Rows: TypeAlias = Sequence[tuple[Any, ...]]
# What somebody wants written in bulk, taken out of its hands.
Take: TypeAlias = Callable[[], Iterable[tuple[str, Rows]]]

GROUP_MAX = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    One piece of work in line. `done` is the caller's; it may be cancelled at any time.
    """

    work: Callable[[aiosqlite.Connection], Awaitable[Any]]
    done: asyncio.Future[Any]


class Writer:
    """
    Writes what others hand in. Belongs to the desk: a caller who is cancelled leaves no transaction open.
    """

    def __init__(self, connection: aiosqlite.Connection, path: Path, settings: DeskSettings) -> None:
        self._connection: aiosqlite.Connection | None = connection
        self._path = path
        self._settings = settings
        self._takes: list[Take] = []
        self._line: deque[Waiting] = deque()
        self._flushes: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._work = asyncio.Event()
        self._closing = False
        self._in_doubt = False
        self._task = asyncio.create_task(self._run(), name="desk writer")

    def carry(self, take: Take) -> None:
        """
        Ask *take* for what to write at each flush.
        """
        self._takes.append(take)

    async def commit(self, work: Callable[[aiosqlite.Connection], Awaitable[Answer]]) -> Answer:
        """
        Do *work* in a transaction, and return its answer once that survives a power cut. Others may share it.
        """
        if self._closing:
            raise DeskUnavailable("the desk is closing")
        if len(self._line) >= self._settings.waiting_max:
            raise DeskBusy(len(self._line))
        waiting = Waiting(work, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self._work.set()
        answer: Answer = await waiting.done
        return answer

    def soon(self) -> None:
        """
        Flush before long: somebody has something to write.
        """
        if self._timer is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.flush_interval_s, self._ring)

    async def flush(self) -> None:
        """
        Write in bulk what is there to be written now, and return when readers see it.
        """
        if self._closing:
            raise DeskUnavailable("the desk is closing")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append(done)
        self._ring()
        await done

    async def at_rest(self) -> None:
        """
        Wait until no flush is under way: what was taken out of others' hands can be read.
        """
        await self._at_rest.wait()

    async def close(self) -> None:
        """
        Write everything in line and in hand, move the log into the database, and close the connection.
        """
        if not self._task.done():
            self._ring()
            self._closing = True
            await self._task
        if self._connection is not None:
            # What is in the log is durable there; a checkpoint that fails is made up for at the next opening.
            with suppress(aiosqlite.Error):
                await self._connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            await self._abandon()

    def _ring(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush_due = True
        self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            if self._line:
                group = [self._line.popleft() for _ in range(min(len(self._line), GROUP_MAX))]
                await self._answer(group)
            elif self._flush_due:
                await self._flush()
            elif self._closing:
                return
            else:
                self._work.clear()

    async def _answer(self, group: Sequence[Waiting]) -> None:
        try:
            async with self._transaction("FULL") as connection:
                answers = [await waiting.work(connection) for waiting in group]
        except DeskError as error:
            disappoint((waiting.done for waiting in group), error)
        except Exception as error:  # noqa: BLE001 - the loop of a task: a bug here must reach whoever waits.
            disappoint((waiting.done for waiting in group), DeskFailed(f"the desk's writer broke: {error!r}"))
        else:
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(answer)

    async def _flush(self) -> None:
        self._flush_due = False
        asking, self._flushes = self._flushes, []
        self._at_rest.clear()
        try:
            statements = [statement for take in self._takes for statement in take()]
            if statements:
                async with self._transaction("NORMAL") as connection:
                    for sql, rows in statements:
                        await connection.executemany(sql, rows)
        except Exception as error:  # The loop of a task: nobody waits for these, and the next flush has others.
            log.exception("desk_flush_failed", text=logs.words(error))
            known = error if isinstance(error, DeskError) else DeskFailed(f"the desk's writer broke: {error!r}")
            disappoint(asking, known)
        finally:
            self._at_rest.set()
        for done in asking:
            if not done.done():
                done.set_result(None)

    @asynccontextmanager
    async def _transaction(self, synchronous: Literal["NORMAL", "FULL"]) -> AsyncIterator[aiosqlite.Connection]:
        """
        Commit what the block does, or leave no trace of it and of the connection.
        """
        with translated(self._path):
            try:
                connection = self._connection = self._connection or await self._reopen()
                await connection.execute_fetchall(f"PRAGMA synchronous = {synchronous}")
                await connection.execute_fetchall("BEGIN IMMEDIATE")
                yield connection
                await connection.execute_fetchall("COMMIT")
            except BaseException:
                # After a failed commit nobody knows what the connection believes. The next transaction opens another.
                self._in_doubt = True
                await self._abandon()
                raise

    async def _reopen(self) -> aiosqlite.Connection:
        """
        Open the connection again after a failure.

        A failed fsync may leave frames in the log that can be read and are not on the disk. Copying the whole log into
        the database, with new fsyncs, makes what can be read durable before anybody is told that it is kept.
        """
        connection = await connect_writer(self._path, self._settings.busy_timeout_ms)
        try:
            if self._in_doubt:
                ((busy, _, _),) = await connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                refuse_busy(busy)
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


def disappoint(waiting: Iterable[asyncio.Future[Any]], error: DeskError) -> None:
    """
    Tell whoever still waits what became of it.
    """
    for done in waiting:
        if not done.done():
            done.set_exception(error)


def refuse_busy(busy: int) -> None:
    """
    Raise that somebody who reads keeps the log from being copied.
    """
    if busy:
        raise DeskUnavailable("somebody who reads keeps the log from being copied")

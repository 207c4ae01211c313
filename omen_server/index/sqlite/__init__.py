"""
The default engine: one SQLite file, one process.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from omen_server.index import WANTED_MAX, Counts, Index, Known, Mark, Outcome, Page, Query, Wanted
from omen_server.index.errors import FAULTS, IndexDamaged, IndexLocked, IndexUnavailable
from omen_server.index.row import Row, bounded_ns
from omen_server.index.sqlite import paging, reading, writing
from omen_server.index.sqlite.database_file import begin_anew, connect_reader, connect_writer, prepare
from omen_storage.lock_file import owned
from omen_storage.sqlite.connection import engine
from omen_storage.sqlite.thread import Step, Thread

Answer = TypeVar("Answer")

# More than there are calls at once by default: who comes on top of them tries again.
WAITING_MAX: Final = 4_096


class Database:
    """
    The file's connections: one that writes, one for the hot path's questions, one for the slow ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = _threads(path)
        self._renewing = asyncio.Lock()

    async def begin(self) -> None:
        """
        Open the connection that writes: without it those that read could not open theirs.
        """
        await self.write(writing.mark)

    async def write(self, step: Step[Answer]) -> Answer:
        """
        Run *step* on the connection that writes.
        """
        return await self._run("writer", step)

    async def find(self, step: Step[Answer]) -> Answer:
        """
        Run *step* on a connection that no slow question holds up.
        """
        return await self._run("finder", step)

    async def page(self, step: Step[Answer]) -> Answer:
        """
        Run *step* where it may take its time.
        """
        return await self._run("pager", step)

    async def close(self) -> None:
        """
        Close all connections; the last one to close moves the log into the database.
        """
        for thread in self._threads.values():
            await thread.close()

    async def _run(self, name: str, step: Step[Answer]) -> Answer:
        if self._renewing.locked():
            raise IndexUnavailable("the index was damaged and is being begun anew")
        threads = self._threads
        try:
            return await threads[name].run(step)
        except IndexDamaged as error:
            if threads is self._threads:
                await asyncio.shield(self._renew(str(error)))
            raise IndexUnavailable(f"the index was damaged and has begun anew ({error})") from error

    async def _renew(self, reason: str) -> None:
        """
        Set the damaged file aside and begin anew. What closes last removes the log by its name, so all close first.
        """
        if self._renewing.locked():
            return
        async with self._renewing:
            await self.close()
            await asyncio.to_thread(begin_anew, self._path, reason)
            self._threads = _threads(self._path)
        await self.begin()


def _threads(path: Path) -> dict[str, Thread]:
    connect = {"finder": connect_reader, "pager": connect_reader, "writer": connect_writer}
    return {
        # What a failure loses is read from the ledger again.
        name: Thread(f"index-{name}", partial(how, path), FAULTS, waiting_max=WAITING_MAX, durable=False)
        for name, how in connect.items()
    }


class SqliteProjection:
    """
    The `Projection` of a file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> Mark | None:
        """
        See `Projection`.
        """
        return await self._database.write(writing.mark)

    async def put(self, rows: Sequence[Row], mark: Mark, after_offset: int) -> None:
        """
        See `Projection`.
        """
        await self._database.write(partial(writing.put, rows=rows, moved=mark, after_offset=after_offset))

    async def cut(self, offset: int) -> None:
        """
        See `Projection`.
        """
        await self._database.write(partial(writing.cut, offset=offset))

    async def note(self, outcomes: Sequence[Outcome]) -> None:
        """
        See `Projection`.
        """
        await self._database.write(partial(writing.note, outcomes=outcomes))


class SqliteLookup:
    """
    The `Lookup` of a file.
    """

    def __init__(self, database: Database, looked_rows_max: int) -> None:
        self._database = database
        self._looked_rows_max = looked_rows_max

    async def find(self, wanted: Sequence[Wanted], true_through: int = 0) -> list[Known | None]:
        """
        See `Lookup`.
        """
        if len(wanted) > WANTED_MAX:
            raise ValueError(f"more than {WANTED_MAX} wanted at once")
        return await self._database.find(partial(reading.find, wanted=wanted, true_through=true_through))

    async def page(self, query: Query, before_offset: int = 0, rows_max: int = 100) -> Page:
        """
        See `Lookup`.
        """
        step = partial(
            paging.page,
            query=query,
            before_offset=before_offset,
            rows_max=rows_max,
            looked_max=self._looked_rows_max,
        )
        return await self._database.page(step)

    async def first_since(self, emitted_ns: int) -> int | None:
        """
        See `Lookup`.
        """
        return await self._database.page(partial(paging.first_since, emitted_ns=bounded_ns(emitted_ns)))

    async def counts(self, day: str) -> Counts:
        """
        See `Lookup`.
        """
        return await self._database.page(partial(reading.counts, day=day))


@asynccontextmanager
async def open_sqlite(path: Path, looked_rows_max: int) -> AsyncIterator[Index]:
    """
    Open the database at *path*, alone: see `open_index`. One that is damaged is set aside, and another begun.
    """
    version = engine(FAULTS)
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path, IndexLocked))
        await asyncio.to_thread(prepare, path)
        database = Database(path)
        stack.push_async_callback(database.close)
        await database.begin()
        lookup = SqliteLookup(database, looked_rows_max)
        yield Index(SqliteProjection(database), lookup, version, shared=False)

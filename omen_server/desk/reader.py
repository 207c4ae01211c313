import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiosqlite

from omen_server.desk.connection import translated
from omen_server.desk.errors import DeskUnavailable
from omen_server.desk.settings import DeskSettings
from omen_storage.sqlite.connection import connect_async

READERS_MAX = 2
# A page is read no further than this: whoever asks may not send more either.
PAGE_BYTES_MAX = 1 << 20


class Reader:
    """
    A few connections that read beside the writer, one statement at a time each.
    """

    def __init__(self, path: Path, settings: DeskSettings) -> None:
        self._path = path
        self._settings = settings
        self._turns = asyncio.Semaphore(READERS_MAX)
        self._idle: list[aiosqlite.Connection] = []
        self._running: set[asyncio.Task[list[Any]]] = set()
        self._closing = False

    async def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """
        Return what *sql* answers. It runs to its end also when the caller goes away.
        """
        if self._closing:
            raise DeskUnavailable("the desk is closing")
        task = asyncio.create_task(self._ask(sql, parameters))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """
        Wait for what is being read, and close.
        """
        self._closing = True
        await asyncio.gather(*self._running, return_exceptions=True)
        while self._idle:
            with suppress(aiosqlite.Error):
                await self._idle.pop().close()

    async def _ask(self, sql: str, parameters: Sequence[object]) -> list[Any]:
        async with self._turns:
            connection: aiosqlite.Connection | None = None
            try:
                with translated(self._path):
                    connection = (
                        self._idle.pop()
                        if self._idle
                        else await connect_async(self._path, "ro", self._settings.busy_timeout_ms)
                    )
                    rows = list(await connection.execute_fetchall(sql, parameters))
            except BaseException:
                if connection is not None:
                    await connection.close()
                raise
            self._idle.append(connection)
            return rows

    def _forget(self, task: asyncio.Task[list[Any]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # The caller has had it, unless it was cancelled; then there is nobody to tell.


def last_of_page(sizes: Sequence[tuple[int, int]]) -> int:
    """
    Return the number of the last row of a page, by the rows' numbers and sizes: the one that has no room any more.

    There are two at least, where there are two, so that whoever fills a page sees that it goes on.
    """
    total = 0
    for at, (number, size) in enumerate(sizes):
        total += size
        if total > PAGE_BYTES_MAX and at:
            return number
    return sizes[-1][0] if sizes else 0

"""
The connections that read. Each read is a snapshot, and over soon: a long one would keep the log from being reused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import aiosqlite

from omen_storage.sqlite.connection import connect_async
from riskcast_server.store.errors import StoreUnavailable
from riskcast_server.store.sqlite.connection import translated

Rows: TypeAlias = list[Any]
Read: TypeAlias = Callable[[str, Sequence[object]], Awaitable[Rows]]
Answer = TypeVar("Answer")


class Readers:
    """
    A few read-only connections, opened when they are first needed.
    """

    def __init__(self, path: Path, busy_timeout_ms: int, readers_max: int) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._readers_max = readers_max
        self._turns = asyncio.Semaphore(readers_max)
        self._idle: list[aiosqlite.Connection] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def snapshot(self, ask: Callable[[Read], Awaitable[Answer]]) -> Answer:
        """
        Let *ask* read, all of it from one snapshot.

        It runs to its end also when the caller is cancelled, so that the connection is given back as it should be.
        """
        await self._turns.acquire()
        if self._closing:
            self._turns.release()
            raise StoreUnavailable("the store is closing")
        task = asyncio.create_task(self._ask(ask))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """
        Wait for what is being read, and close.
        """
        self._closing = True
        for _ in range(self._readers_max):
            await self._turns.acquire()
        while self._idle:
            await self._idle.pop().close()
        for _ in range(self._readers_max):
            self._turns.release()

    async def _ask(self, ask: Callable[[Read], Awaitable[Answer]]) -> Answer:
        connection: aiosqlite.Connection | None = None
        try:
            with translated():
                connection = (
                    self._idle.pop() if self._idle else await connect_async(self._path, "ro", self._busy_timeout_ms)
                )
                await connection.execute("BEGIN")
                answer = await ask(_reading(connection))
                await connection.execute("COMMIT")
        except BaseException:
            if connection is not None:
                await connection.close()
            raise
        else:
            self._idle.append(connection)
            return answer
        finally:
            self._turns.release()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # The caller has had it, unless it was cancelled; then there is nobody to tell.


def _reading(connection: aiosqlite.Connection) -> Read:
    async def read(sql: str, parameters: Sequence[object]) -> Rows:
        return list(await connection.execute_fetchall(sql, parameters))

    return read

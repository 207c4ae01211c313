"""
The real engines, as the suites open them, and the faults they are given.
"""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from riskcast_server.store import open_store
from tests.contracts.exercise_store import Opener


def opener(url: str) -> Opener:
    """
    Return what opens the store at *url*.
    """
    return partial(open_store, url)


class Commits:
    """
    Stands between a store and its COMMITs, those of its reads as well, so arm it only while it writes.

    `on_read` is run before each query that a read makes. Made on the loop that the store runs on.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.on_read: Callable[[], Awaitable[None]] | None = None
        self.reached = asyncio.Event()
        self._released = asyncio.Event()
        self._released.set()
        self._plan: list[tuple[bool, Exception | None]] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Let nothing be committed while the block runs; `reached` says that something would.
        """
        self.reached.clear()
        self._released.clear()
        try:
            yield
        finally:
            self._released.set()

    def fail(self, error: Exception, *, applied: bool) -> None:
        """
        Let the next COMMIT fail, after it was done, or instead.
        """
        self._plan.append((applied, error))

    def kill(self, *, applied: bool) -> None:
        """
        Let the next COMMIT be the last thing that this process does.
        """
        self._plan.append((applied, None))

    async def commit(self, original: Any) -> Any:
        """
        Do what was ordered, or commit.
        """
        applied, failure = await self._ordered()
        answer = await original() if applied else None
        failure()
        return answer

    def commit_in_thread(self, original: Any) -> Any:
        """
        Do the same where the driver blocks, in a thread of its own.
        """
        applied, failure = asyncio.run_coroutine_threadsafe(self._ordered(), self._loop).result()
        answer = original() if applied else None
        failure()
        return answer

    async def _ordered(self) -> tuple[bool, Callable[[], None]]:
        self.reached.set()
        await self._released.wait()
        if not self._plan:
            return True, lambda: None
        applied, error = self._plan.pop(0)
        return applied, partial(_fail, error)


def _fail(error: Exception | None) -> None:
    if error is None:
        os.kill(os.getpid(), signal.SIGKILL)
    raise error or AssertionError


def watch_commits(patch: pytest.MonkeyPatch) -> Commits:
    """
    Put a new `Commits` in the way of all drivers.
    """
    commits = Commits()
    patch.setattr(sqlite3, "connect", _watched_connect(sqlite3.connect, commits))
    for driver, fetch in ((aiosqlite.Connection, "execute_fetchall"), (PoolConnectionProxy, "fetch")):
        patch.setattr(driver, "execute", _watched(driver.execute, commits))
        patch.setattr(driver, fetch, _watched_reading(getattr(driver, fetch), commits))
    return commits


def _watched_connect(original: Any, commits: Commits) -> Any:
    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            execute = partial(super().execute, sql, *parameters)
            return commits.commit_in_thread(execute) if sql == "COMMIT" else execute()

    def connect(database: Any, **settings: Any) -> Any:
        # Not those that read: they commit on the loop's side.
        return original(database, **settings, **({"factory": Watched} if "mode=rw" in str(database) else {}))

    return connect


def _watched(original: Any, commits: Commits) -> Any:
    async def execute(connection: Any, sql: str, *parameters: Any, **settings: Any) -> Any:
        if sql == "COMMIT":
            return await commits.commit(partial(original, connection, sql))
        return await original(connection, sql, *parameters, **settings)

    return execute


def _watched_reading(original: Any, commits: Commits) -> Any:
    async def fetch(connection: Any, sql: str, *parameters: Any) -> Any:
        callback, commits.on_read = commits.on_read, None
        if callback is not None:
            await callback()
            commits.on_read = callback
        return await original(connection, sql, *parameters)

    return fetch


@dataclass(frozen=True)
class SqliteDatabase:
    """
    An SQLite file, and a way to it past the store.
    """

    path: Path
    newer = "PRAGMA user_version = 3"
    older = (
        "DROP TRIGGER signals_deleted",
        "DROP VIEW holders",
        "DROP TABLE positions",
        "DROP INDEX signals_unpositioned",
        "ALTER TABLE signals DROP COLUMN positioned",
        "DROP TABLE block_cache",
        "ALTER TABLE store_meta DROP COLUMN generation",
        "PRAGMA user_version = 1",
    )
    without_triggers = "DROP TRIGGER positions_updated"
    failure = aiosqlite.OperationalError("disk I/O error")

    def __post_init__(self) -> None:
        # What the driver sets itself when fsync fails: SQLITE_IOERR_FSYNC.
        self.failure.sqlite_errorcode = 1034

    @property
    def url(self) -> str:
        """
        Where the store is.
        """
        return f"sqlite:///{self.path}"

    @property
    def opened(self) -> Opener:
        """
        What opens the store.
        """
        return opener(self.url)

    async def execute(self, sql: str) -> list[Any]:
        """
        Run *sql* as somebody with a shell would.
        """
        async with aiosqlite.connect(self.path, isolation_level=None) as connection:
            return list(await connection.execute_fetchall(sql))


@dataclass(frozen=True)
class PostgresDatabase:
    """
    A PostgreSQL database, and a way to it past the store.
    """

    url: str
    newer = "UPDATE store_meta SET schema_version = 3"
    older = (
        "DROP TRIGGER signals_deleted ON signals",
        "DROP TRIGGER signals_truncated ON signals",
        "DROP VIEW holders",
        "DROP TABLE positions",
        "DROP FUNCTION delete_positions",
        "DROP FUNCTION drop_changed_blocks",
        "DROP FUNCTION mark_extra",
        "DROP INDEX signals_unpositioned",
        "ALTER TABLE signals DROP COLUMN positioned",
        "DROP TABLE block_cache",
        "ALTER TABLE store_meta DROP COLUMN generation",
        "UPDATE store_meta SET schema_version = 1",
    )
    without_triggers = "ALTER TABLE positions DISABLE TRIGGER USER"
    failure = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    @property
    def opened(self) -> Opener:
        """
        What opens the store.
        """
        return opener(self.url)

    async def execute(self, sql: str) -> list[Any]:
        """
        Run *sql* as somebody with a shell would.
        """
        async with self.connected() as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """
        Be connected while the block runs.
        """
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()


Database = SqliteDatabase | PostgresDatabase

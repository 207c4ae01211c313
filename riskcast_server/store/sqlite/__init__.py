"""
The default engine: one SQLite file, one server.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from riskcast_server.store import Store
from riskcast_server.store.errors import StoreFailed
from riskcast_server.store.limits import Clock, NewAck, StoreLimits
from riskcast_server.store.sqlite.connection import scalar
from riskcast_server.store.sqlite.database_file import make_private, owned
from riskcast_server.store.sqlite.positions import SqlitePositions
from riskcast_server.store.sqlite.readers import Readers
from riskcast_server.store.sqlite.schema import migrate, migrations
from riskcast_server.store.sqlite.signals import SqliteSignals
from riskcast_server.store.sqlite.thread import WriterThread
from riskcast_server.store.sqlite.writer import Writer

# The first with STRICT tables and RETURNING; nothing newer is used.
VERSION_MIN: Final = (3, 37, 0)


@asynccontextmanager
async def open_sqlite(path: Path, limits: StoreLimits, now: Clock, ack: NewAck) -> AsyncIterator[Store]:
    """
    Open the database at *path*, alone: see `open_store`.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path))
        await asyncio.to_thread(make_private, path)
        thread = WriterThread(path, limits.busy_timeout_ms)
        stack.push_async_callback(thread.close)
        version = await thread.run(_prepare)
        writer = Writer(thread, limits, now, ack)
        stack.push_async_callback(writer.close)
        readers = Readers(path, limits.busy_timeout_ms, limits.readers_max)
        stack.push_async_callback(readers.close)
        yield Store(SqliteSignals(writer, readers), SqlitePositions(writer, readers), f"SQLite {version}")


def _prepare(connection: sqlite3.Connection) -> str:
    """
    Bring the database up to date, and return the version of the library that does it.
    """
    version = str(scalar(connection, "SELECT sqlite_version()"))
    _refuse_older(version)
    migrate(connection, migrations())
    return version


def _refuse_older(version: str) -> None:
    if tuple(map(int, version.split("."))) < VERSION_MIN:
        raise StoreFailed(f"SQLite {version} is older than {'.'.join(map(str, VERSION_MIN))}")

"""
The default engine: one SQLite file, one server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from omen_storage.lock_file import owned
from omen_storage.sqlite.connection import engine
from omen_storage.sqlite.database_file import make_private
from omen_storage.sqlite.schema import migrate
from riskcast_server.store import Store
from riskcast_server.store.errors import FAULTS, StoreLocked
from riskcast_server.store.limits import Clock, NewAcks, StoreLimits
from riskcast_server.store.sqlite.positions import SqlitePositions
from riskcast_server.store.sqlite.readers import Readers
from riskcast_server.store.sqlite.schema import own_schema
from riskcast_server.store.sqlite.signals import SqliteSignals
from riskcast_server.store.sqlite.thread import WriterThread
from riskcast_server.store.sqlite.writer import Writer


@asynccontextmanager
async def open_sqlite(path: Path, limits: StoreLimits, now: Clock, acks: NewAcks) -> AsyncIterator[Store]:
    """
    Open the database at *path*, alone: see `open_store`.
    """
    version = engine(FAULTS)
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path, StoreLocked))
        await asyncio.to_thread(make_private, path)
        thread = WriterThread(path, limits.busy_timeout_ms)
        stack.push_async_callback(thread.close)
        await thread.run(partial(migrate, schema=own_schema()))
        writer = Writer(thread, limits, now, acks)
        stack.push_async_callback(writer.close)
        readers = Readers(path, limits.busy_timeout_ms, limits.readers_max)
        stack.push_async_callback(readers.close)
        yield Store(SqliteSignals(writer, readers), SqlitePositions(writer, readers), version)

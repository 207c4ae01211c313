"""
The default engine: one SQLite file, one process.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from omen_storage.lock_file import owned
from omen_storage.sqlite.connection import engine
from omen_storage.sqlite.database_file import make_private
from omen_storage.sqlite.thread import Thread
from reconciler.state import State
from reconciler.state.errors import FAULTS, StateLocked
from reconciler.state.limits import StateLimits
from reconciler.state.sqlite.control import SqliteControl
from reconciler.state.sqlite.database_file import connect
from reconciler.state.sqlite.parked import SqliteParked
from reconciler.state.sqlite.runs import SqliteRuns
from reconciler.state.sqlite.success import SqliteSuccess

WAITING_MAX: Final = 256


@asynccontextmanager
async def open_sqlite(path: Path, limits: StateLimits) -> AsyncIterator[State]:
    """
    Open the database at *path*, alone: see `open_state`.
    """
    version = engine(FAULTS)
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path, StateLocked))
        await asyncio.to_thread(make_private, path)
        thread = Thread("reconcile-state", partial(connect, path), FAULTS, waiting_max=WAITING_MAX, durable=True)
        stack.push_async_callback(thread.close)
        await thread.run(_begin)
        runs, parked = SqliteRuns(thread, limits), SqliteParked(thread, limits)
        yield State(runs, parked, SqliteControl(thread), SqliteSuccess(thread), version)


def _begin(_connection: sqlite3.Connection) -> None:
    """
    Do nothing: a database that cannot be opened, or is too new, is found at the opening and not at the first save.
    """

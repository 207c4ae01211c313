"""
The default engine: one SQLite file, one process.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from reconciler.state import State
from reconciler.state.errors import StateFailed
from reconciler.state.limits import StateLimits
from reconciler.state.sqlite.connection import Thread
from reconciler.state.sqlite.control import SqliteControl
from reconciler.state.sqlite.database_file import VERSION_MIN, connect, make_private, owned
from reconciler.state.sqlite.parked import SqliteParked
from reconciler.state.sqlite.runs import SqliteRuns
from reconciler.state.sqlite.success import SqliteSuccess


@asynccontextmanager
async def open_sqlite(path: Path, limits: StateLimits) -> AsyncIterator[State]:
    """
    Open the database at *path*, alone: see `open_state`.
    """
    if sqlite3.sqlite_version_info < VERSION_MIN:
        raise StateFailed(f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, VERSION_MIN))}")
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path))
        await asyncio.to_thread(make_private, path)
        thread = Thread(partial(connect, path))
        stack.push_async_callback(thread.close)
        await thread.run(_begin)
        runs, parked = SqliteRuns(thread, limits), SqliteParked(thread, limits)
        yield State(runs, parked, SqliteControl(thread), SqliteSuccess(thread), f"SQLite {sqlite3.sqlite_version}")


def _begin(_connection: sqlite3.Connection) -> None:
    """
    Do nothing: a database that cannot be opened, or is too new, is found at the opening and not at the first save.
    """

"""
A connection in a thread of its own, and what the errors of SQLite mean.

The driver of the standard library and not an asynchronous one over it: a whole transaction is one hop to the thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from omen_server.index.errors import IndexDamaged, IndexFailed, IndexFault, IndexUnavailable

Answer = TypeVar("Answer")
Connect = Callable[[], sqlite3.Connection]
Step = Callable[[sqlite3.Connection], Answer]

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class Thread:
    """
    One connection and the one thread that uses it. It is opened when it is first needed, and again after a failure.
    """

    def __init__(self, name: str, connect: Connect) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, step: Step[Answer]) -> Answer:
        """
        Run *step*, one transaction, in the thread. A caller that is cancelled leaves it to finish there.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, step)

    async def close(self) -> None:
        """
        Finish what was begun and close the connection.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, self._abandon)
        await asyncio.to_thread(self._executor.shutdown)

    def _run(self, step: Step[Answer]) -> Answer:
        try:
            with translated():
                self._connection = self._connection or self._connect()
                return step(self._connection)
        except IndexFault:
            # After a failed transaction nobody knows what the connection believes. Closing rolls back.
            self._abandon()
            raise

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that cannot be closed is dropped all the same.
            with suppress(sqlite3.Error):
                connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "DEFERRED") -> Iterator[None]:
    """
    Commit what the block does, or leave no trace of it.
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise an `IndexFault` for whatever the driver raises inside.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error) from error


def _meaning(error: sqlite3.Error) -> IndexFault:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # Absent from what the module itself complains of.
    text = f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"
    primary = None if code is None else code & 0xFF
    if primary in _DAMAGED:
        return IndexDamaged(text)
    return IndexUnavailable(text) if primary in _TRANSIENT else IndexFailed(text)

"""
The one connection, in a thread of its own, and what the errors of SQLite mean.

The driver of the standard library and not an asynchronous one over it: a whole transaction is one hop to the thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from reconciler.state.errors import StateError, StateFailed, StateUnavailable

Answer = TypeVar("Answer")
Connect = Callable[[], sqlite3.Connection]
Step = Callable[[sqlite3.Connection], Answer]

WAITING_MAX: Final = 256

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
    The connection and the one thread that uses it, for reading too. It is opened again after a failure.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reconcile-state")
        self._waiting = 0
        self._in_doubt = False
        self._closing = False

    async def run(self, step: Step[Answer]) -> Answer:
        """
        Run *step*, one transaction, in the thread. A caller that is cancelled leaves it to finish there, or unbegun.
        """
        if self._closing:
            raise StateUnavailable("the state is closing")
        if self._waiting >= WAITING_MAX:
            raise StateUnavailable(f"{self._waiting} others wait for the state already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, step)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """
        Finish what was begun and close the connection, which moves the log into the database.
        """
        self._closing = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._abandon)
        await asyncio.to_thread(self._executor.shutdown)

    def _run(self, step: Step[Answer]) -> Answer:
        with translated():
            try:
                self._connection = self._connection or self._reopened()
                return step(self._connection)
            except sqlite3.Error:
                # After a failed transaction nobody knows what the connection believes. Closing rolls back.
                self._in_doubt = True
                self._abandon()
                raise

    def _reopened(self) -> sqlite3.Connection:
        """
        Open the connection.

        A failed sync may leave a transaction in the log that can be read and is not on the disk. Copying the whole log
        into the database, with new syncs, makes what can be read durable before anybody is told of it.
        """
        connection = self._connect()
        try:
            if self._in_doubt:
                _copy_log(connection)
        except BaseException:
            connection.close()
            raise
        self._in_doubt = False
        return connection

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that cannot be closed is dropped all the same.
            with suppress(sqlite3.Error):
                connection.close()


def _copy_log(connection: sqlite3.Connection) -> None:
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StateUnavailable("somebody who reads keeps the log from being copied")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """
    Commit what the block does, durably, or leave no trace of it.
    """
    connection.execute("BEGIN IMMEDIATE")
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
    Raise a `StateError` for whatever the driver raises inside.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error) from error


def _meaning(error: sqlite3.Error) -> StateError:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # Absent from what the module itself complains of.
    text = f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"
    primary = None if code is None else code & 0xFF
    return StateUnavailable(text) if primary in _TRANSIENT else StateFailed(text)

"""
The thread that writes: a whole transaction is one hop there and one back, however many statements it has.

An asynchronous driver hops for each statement, and each hop back waits until the loop is done with what it is at, which
under load is somebody's batch.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from omen_storage.sqlite.connection import copy_log, empty_log
from riskcast_server.store.errors import FAULTS, StoreFull
from riskcast_server.store.sqlite.connection import AckTaken, connect_writer, translated

Answer = TypeVar("Answer")


class WriterThread:
    """
    The one connection that writes and the one thread that uses it. It is opened when it is first needed, and again
    after a failure.
    """

    def __init__(self, path: Path, busy_timeout_ms: int) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._connection: sqlite3.Connection | None = None
        self._in_doubt = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store writer")

    async def run(self, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """
        Run *step*, which sees to its transactions itself. A caller that is cancelled leaves it to finish.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, step)

    async def transact(self, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """
        Commit what *step* does, or leave no trace of it and of the connection.
        """
        return await self.run(lambda connection: _committed(connection, step))

    async def close(self) -> None:
        """
        Finish what was begun, move the log into the database, and close the connection. May be called twice.
        """
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with suppress(RuntimeError):  # It was shut down before.
            self._executor.submit(self._leave).result()
        self._executor.shutdown()

    def _run(self, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            with translated():
                connection = self._connection = self._connection or self._open()
                return step(connection)
        except BaseException as error:
            # After a failed commit nobody knows what the connection believes. The next transaction opens another.
            # Where an ack was taken or the disk full, nothing was lost but the room to go on.
            self._in_doubt |= not isinstance(error, AckTaken | StoreFull)
            self._abandon()
            raise

    def _open(self) -> sqlite3.Connection:
        """
        Open the connection, also again after a failure.

        A failed fsync may leave frames in the log that can be read and are not on the disk. Copying the whole log into
        the database, with new fsyncs, makes what can be read durable, before any of it is acknowledged as a duplicate.
        """
        connection = connect_writer(self._path, self._busy_timeout_ms)
        try:
            if self._in_doubt:
                copy_log(connection, FAULTS)
        except BaseException:
            connection.close()
            raise
        self._in_doubt = False
        return connection

    def _leave(self) -> None:
        if self._connection is not None:
            # What is in the log is durable there; a checkpoint that fails is made up for at the next opening.
            with suppress(sqlite3.Error):
                empty_log(self._connection)
        self._abandon()

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing rolls back. One that cannot be closed is dropped all the same.
            with suppress(sqlite3.Error):
                connection.close()


def _committed(connection: sqlite3.Connection, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
    connection.execute("BEGIN IMMEDIATE")
    answer = step(connection)
    connection.execute("COMMIT")
    return answer

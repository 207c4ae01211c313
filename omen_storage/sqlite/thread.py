"""
A connection in a thread of its own.

The driver of the standard library and not an asynchronous one over it: a whole transaction is one hop to the thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeAlias, TypeVar

from omen_storage.faults import Faults
from omen_storage.sqlite.connection import copy_log
from omen_storage.sqlite.meaning import translated

Answer = TypeVar("Answer")
Connect: TypeAlias = Callable[[], sqlite3.Connection]
Step: TypeAlias = Callable[[sqlite3.Connection], Answer]


class Thread:
    """
    One connection and the one thread that uses it. It is opened when it is first needed, and again after a failure.

    A *durable* one answers for what it has committed: after a failure the log is copied before anything is read.
    """

    def __init__(self, name: str, connect: Connect, faults: Faults, *, waiting_max: int, durable: bool) -> None:
        self._connect = connect
        self._faults = faults
        self._waiting_max = waiting_max
        self._durable = durable
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting = 0
        self._in_doubt = False
        self._closing = False

    async def run(self, step: Step[Answer]) -> Answer:
        """
        Run *step*, one transaction, in the thread. A caller that is cancelled leaves it to finish there, or unbegun.
        """
        if self._closing:
            raise self._faults.unavailable("the database is closing")
        if self._waiting >= self._waiting_max:
            raise self._faults.unavailable(f"{self._waiting} others wait for the database already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, step)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """
        Finish what was begun and close the connection. The last one to close moves the log into the database.

        May be called twice.
        """
        self._closing = True
        await asyncio.to_thread(self._close)

    def _run(self, step: Step[Answer]) -> Answer:
        with translated(self._faults):
            try:
                self._connection = self._connection or self._reopened()
                return step(self._connection)
            except BaseException as error:
                # After a failed transaction nobody knows what the connection believes. Closing rolls back.
                self._in_doubt |= isinstance(error, sqlite3.Error)
                self._abandon()
                raise

    def _reopened(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            if self._in_doubt and self._durable:
                copy_log(connection, self._faults)
        except BaseException:
            connection.close()
            raise
        self._in_doubt = False
        return connection

    def _close(self) -> None:
        with suppress(RuntimeError):  # It was shut down before.
            self._executor.submit(self._abandon).result()
        self._executor.shutdown()

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that cannot be closed is dropped all the same.
            with suppress(sqlite3.Error):
                connection.close()

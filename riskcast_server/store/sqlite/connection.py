"""
Connections to the store's database: how they are set, and what their errors mean.

The one that writes is of the driver that blocks, for whoever has a thread to use it in; those that read are
asynchronous.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from omen_storage.sqlite import meaning
from omen_storage.sqlite.connection import check_durable, connect
from riskcast_server.store.errors import FAULTS, StoreUnavailable

_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    # A statement that inserts many rows keeps what it may have to take back, beyond 64 KiB in a file that it makes,
    # writes and deletes for each transaction, in whatever directory there is for such.
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA journal_size_limit = {64 * 1024 * 1024}",
)


def connect_writer(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    """
    Open the connection that writes. What it answers to the pragmas that durability rests on is checked.
    """
    connection = connect(path, "rw", busy_timeout_ms, _WRITER)
    try:
        check_durable(connection, FAULTS)
    except BaseException:
        connection.close()
        raise
    return connection


def scalar(connection: sqlite3.Connection, sql: str) -> str | int:
    """
    Return the one value that *sql* answers.
    """
    ((value,),) = connection.execute(sql).fetchall()
    answer: str | int = value
    return answer


class AckTaken(StoreUnavailable):
    """
    An ack was drawn that another signal has. No other unique column is inserted into without saying what then.
    """


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise a `StoreError` for whatever the driver raises inside.
    """
    with meaning.translated(FAULTS):
        try:
            yield
        except sqlite3.IntegrityError as error:
            if meaning.code_of(error) != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise
            raise AckTaken(meaning.words(error)) from error

"""
Connections to one SQLite database: how they are set, and what their errors mean.

Only one connection writes and checkpoints: SQLite before 3.51.3 can corrupt a WAL database that has two. It is one of
the driver that blocks, for whoever has a thread to use it in; those that read are asynchronous.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiosqlite

from riskcast_server.store.errors import StoreError, StoreFailed, StoreFull, StoreUnavailable

_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)

_EVERY_CONNECTION: Final = ("PRAGMA mmap_size = 0", "PRAGMA trusted_schema = OFF")
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {64 * 1024 * 1024}",
)


def connect_writer(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    """
    Open the connection that writes. What it answers to the pragmas that durability rests on is checked.
    """
    connection = sqlite3.connect(_uri(path, "rw"), uri=True, isolation_level=None)
    try:
        for pragma in (*_pragmas(busy_timeout_ms), *_WRITER):
            connection.execute(pragma)
        journal_mode = scalar(connection, "PRAGMA journal_mode")
        synchronous = scalar(connection, "PRAGMA synchronous")
        _refuse_weak(path, journal_mode, synchronous)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_weak(path: Path, journal_mode: str | int, synchronous: str | int) -> None:
    if (journal_mode, synchronous) != ("wal", 2):
        raise StoreFailed(f"{path}: journal_mode is {journal_mode} and synchronous {synchronous}, not wal and 2")


async def connect_reader(path: Path, busy_timeout_ms: int) -> aiosqlite.Connection:
    """
    Open a connection that cannot write, but into a file of its own with VACUUM INTO.
    """
    connection = await aiosqlite.connect(_uri(path, "ro"), uri=True, isolation_level=None)
    try:
        for pragma in _pragmas(busy_timeout_ms):
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path))}?mode={mode}"


def _pragmas(busy_timeout_ms: int) -> tuple[str, ...]:
    return (f"PRAGMA busy_timeout = {busy_timeout_ms}", *_EVERY_CONNECTION)


def scalar(connection: sqlite3.Connection, sql: str) -> str | int:
    """
    Return the one value that *sql* answers.
    """
    ((value,),) = connection.execute(sql).fetchall()
    answer: str | int = value
    return answer


def empty_log(connection: sqlite3.Connection) -> bool:
    """
    Copy the log into the database, with new fsyncs, and empty it. False when somebody who reads was in the way.
    """
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy


class AckTaken(StoreUnavailable):
    """
    An ack was drawn that another signal has. No other unique column is inserted into without saying what then.
    """


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise a `StoreError` for whatever the driver raises inside.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error) from error


def _meaning(error: sqlite3.Error) -> StoreError:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # Absent from what the module itself complains of.
    text = f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"
    if code == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
        return AckTaken(text)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(text)
    return StoreUnavailable(text) if primary in _TRANSIENT else StoreFailed(text)

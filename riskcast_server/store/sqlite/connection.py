"""
Connections to one SQLite database: how they are set, and what their errors mean.

Only one connection writes and checkpoints: SQLite before 3.51.3 can corrupt a WAL database that has two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiosqlite

from riskcast_server.store.errors import StoreError, StoreFailed, StoreFull, StoreUnavailable

# Result codes of SQLite, https://sqlite.org/rescode.html. The sqlite3 module has them, but that one blocks.
_BUSY, _LOCKED, _NOMEM, _READONLY, _INTERRUPT, _IOERR, _FULL, _CANTOPEN, _PROTOCOL = 5, 6, 7, 8, 9, 10, 13, 14, 15
_CONSTRAINT_UNIQUE: Final = 2067
_TRANSIENT: Final = frozenset({_BUSY, _LOCKED, _NOMEM, _READONLY, _INTERRUPT, _IOERR, _CANTOPEN, _PROTOCOL})

_EVERY_CONNECTION: Final = ("PRAGMA mmap_size = 0", "PRAGMA trusted_schema = OFF")
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {64 * 1024 * 1024}",
)


async def connect_writer(path: Path, busy_timeout_ms: int) -> aiosqlite.Connection:
    """
    Open the connection that writes. What it answers to the pragmas that durability rests on is checked.
    """
    connection = await _connect(path, "rw", busy_timeout_ms, _WRITER)
    journal_mode = await scalar(connection, "PRAGMA journal_mode")
    synchronous = await scalar(connection, "PRAGMA synchronous")
    if (journal_mode, synchronous) != ("wal", 2):
        await connection.close()
        raise StoreFailed(f"{path}: journal_mode is {journal_mode} and synchronous {synchronous}, not wal and 2")
    return connection


async def connect_reader(path: Path, busy_timeout_ms: int) -> aiosqlite.Connection:
    """
    Open a connection that cannot write, but into a file of its own with VACUUM INTO.
    """
    return await _connect(path, "ro", busy_timeout_ms, ())


async def _connect(path: Path, mode: str, busy_timeout_ms: int, pragmas: tuple[str, ...]) -> aiosqlite.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = await aiosqlite.connect(uri, uri=True, isolation_level=None)
    try:
        for pragma in (f"PRAGMA busy_timeout = {busy_timeout_ms}", *_EVERY_CONNECTION, *pragmas):
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


async def scalar(connection: aiosqlite.Connection, sql: str) -> str | int:
    """
    Return the one value that *sql* answers.
    """
    (row,) = await connection.execute_fetchall(sql)
    value: str | int = row[0]
    return value


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
    except aiosqlite.Error as error:
        raise _meaning(error) from error


def _meaning(error: aiosqlite.Error) -> StoreError:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # Absent from what the module itself complains of.
    text = f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"
    if code == _CONSTRAINT_UNIQUE:
        return AckTaken(text)
    primary = None if code is None else code & 0xFF
    if primary == _FULL:
        return StoreFull(text)
    return StoreUnavailable(text) if primary in _TRANSIENT else StoreFailed(text)

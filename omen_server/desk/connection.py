"""
Connections to the desk's database: how they are set, and what their errors mean.

Only one connection writes and checkpoints: SQLite before 3.51.3 can corrupt a WAL database that has two.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiosqlite

from omen_server.desk.errors import DeskError, DeskFailed, DeskFull, DeskUnavailable

# Result codes of SQLite, https://sqlite.org/rescode.html. The sqlite3 module has them, but that one blocks.
_BUSY, _LOCKED, _NOMEM, _READONLY, _INTERRUPT, _IOERR, _FULL, _CANTOPEN, _PROTOCOL = 5, 6, 7, 8, 9, 10, 13, 14, 15
_TRANSIENT: Final = frozenset({_BUSY, _LOCKED, _NOMEM, _READONLY, _INTERRUPT, _IOERR, _CANTOPEN, _PROTOCOL})

_EVERY_CONNECTION: Final = ("PRAGMA mmap_size = 0", "PRAGMA trusted_schema = OFF")
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {16 << 20}",
)


async def connect_writer(path: Path, busy_timeout_ms: int) -> aiosqlite.Connection:
    """
    Open the connection that writes.
    """
    connection = await _connect(path, "rwc", busy_timeout_ms, _WRITER)
    journal_mode = await scalar(connection, "PRAGMA journal_mode")
    if journal_mode != "wal":
        await connection.close()
        raise DeskFailed(f"{path}: journal_mode is {journal_mode}, not wal")
    return connection


async def connect_reader(path: Path, busy_timeout_ms: int) -> aiosqlite.Connection:
    """
    Open a connection that cannot write.
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


async def scalar(connection: aiosqlite.Connection, sql: str) -> Any:
    """
    Return the one value that *sql* answers.
    """
    ((value,),) = await connection.execute_fetchall(sql)
    return value


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """
    Raise a `DeskError` for whatever the driver raises inside.
    """
    try:
        yield
    except aiosqlite.Error as error:
        raise meaning(error, path) from error


def meaning(error: aiosqlite.Error, path: Path) -> DeskError:
    """
    Return what an error of the driver is to whoever asked.
    """
    code: int | None = getattr(error, "sqlite_errorcode", None)  # Absent from what the module itself complains of.
    text = f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"
    primary = None if code is None else code & 0xFF
    if primary == _FULL:
        return DeskFull(path, free_bytes(path))
    # Without a code: the connection was closed under the call, as it is after another call's failure.
    return DeskUnavailable(text) if primary is None or primary in _TRANSIENT else DeskFailed(text)


def free_bytes(path: Path) -> int:
    """
    Return how much room the disk has left; 0 when it does not say.
    """
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0

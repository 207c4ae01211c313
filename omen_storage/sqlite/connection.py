"""
Connections to one SQLite database.

Only one of a database's connections may write and checkpoint: SQLite before 3.51.3 can corrupt a WAL database that has
two.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import aiosqlite

from omen_storage.faults import Faults

# The first with STRICT tables and RETURNING; JSON functions are built in since 3.38, and were a usual part before.
VERSION_MIN: Final = (3, 37, 0)

Mode = Literal["ro", "rw"]


def engine(faults: Faults) -> str:
    """
    Return the name and version of the library, which is new enough.
    """
    if sqlite3.sqlite_version_info < VERSION_MIN:
        raise faults.failed(f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, VERSION_MIN))}")
    return f"SQLite {sqlite3.sqlite_version}"


def connect(path: Path, mode: Mode, busy_timeout_ms: int, pragmas: Sequence[str] = ()) -> sqlite3.Connection:
    """
    Open a connection of the driver that blocks, to a file that is there. No transaction begins by itself.
    """
    connection = sqlite3.connect(_uri(path, mode), uri=True, isolation_level=None)
    try:
        for pragma in (*_every(busy_timeout_ms), *pragmas):
            connection.execute(pragma).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_async(
    path: Path, mode: Mode, busy_timeout_ms: int, pragmas: Sequence[str] = ()
) -> aiosqlite.Connection:
    """
    Open a connection of the asynchronous driver, in the same way.
    """
    connection = await aiosqlite.connect(_uri(path, mode), uri=True, isolation_level=None)
    try:
        for pragma in (*_every(busy_timeout_ms), *pragmas):
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


def check_durable(connection: sqlite3.Connection, faults: Faults) -> None:
    """
    Raise unless the connection keeps a log and waits for the disk at each commit: it may have been told so in vain.
    """
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    if found != ["wal", 2]:
        raise faults.failed(f"journal_mode is {found[0]} and synchronous {found[1]}, not wal and 2")


@contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
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


def empty_log(connection: sqlite3.Connection) -> bool:
    """
    Copy the log into the database, with new syncs, and empty it. False when somebody who reads was in the way.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def copy_log(connection: sqlite3.Connection, faults: Faults) -> None:
    """
    Make durable what a failed sync may have left in the log, where it can be read and is not on the disk.

    To be done before anybody is told of what is read there.
    """
    if not empty_log(connection):
        raise faults.unavailable("somebody who reads keeps the log from being copied")


def _uri(path: Path, mode: Mode) -> str:
    return f"file:{quote(str(path))}?mode={mode}"


def _every(busy_timeout_ms: int) -> tuple[str, ...]:
    return (f"PRAGMA busy_timeout = {busy_timeout_ms}", "PRAGMA mmap_size = 0", "PRAGMA trusted_schema = OFF")

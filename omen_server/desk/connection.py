"""
Connections to the desk's database: how they are set, and what their errors mean.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiosqlite

from omen_server.desk.errors import FAULTS, DeskFailed, DeskFull, DeskUnavailable
from omen_storage.sqlite import meaning
from omen_storage.sqlite.connection import connect_async

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
    connection = await connect_async(path, "rw", busy_timeout_ms, _WRITER)
    journal_mode = await scalar(connection, "PRAGMA journal_mode")
    if journal_mode != "wal":
        await connection.close()
        raise DeskFailed(f"{path}: journal_mode is {journal_mode}, not wal")
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
    with meaning.translated(replace(FAULTS, full=lambda _text: DeskFull(path, free_bytes(path)))):
        try:
            yield
        except sqlite3.Error as error:
            if meaning.code_of(error) is not None:
                raise
            # The connection was closed under the call, as it is after another call's failure.
            raise DeskUnavailable(meaning.words(error)) from error


def free_bytes(path: Path) -> int:
    """
    Return how much room the disk has left; 0 when it does not say.
    """
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0

"""
The database's file: private, and set aside when it is no database any more.
"""

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from omen_server.index.errors import FAULTS, IndexDamaged
from omen_storage.migrations import migrations
from omen_storage.sqlite.connection import connect
from omen_storage.sqlite.database_file import files_of, make_private
from omen_storage.sqlite.meaning import translated
from omen_storage.sqlite.schema import Schema, migrate

BUSY_TIMEOUT_MS: Final = 10_000
# Looked through from end to end when it is opened: a second's work at most. Larger ones show their damage when it is
# met, and are set aside then.
CHECKED_BYTES_MAX: Final = 256 << 20

_EVERY_CONNECTION: Final = ("PRAGMA cache_size = -65536",)
# A power cut may take the last transactions and never tears one: what is missing then is read from the ledger again.
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    f"PRAGMA journal_size_limit = {64 << 20}",
)

log = structlog.get_logger()


def own_schema() -> Schema:
    """
    Return the versions that this one knows.
    """
    return Schema(0x4F4D4E49, migrations(__package__), FAULTS)  # "OMNI".


def connect_writer(path: Path) -> sqlite3.Connection:
    """
    Open the connection that writes, and bring its schema up to date.
    """
    connection = connect(path, "rw", BUSY_TIMEOUT_MS, (*_EVERY_CONNECTION, *_WRITER))
    try:
        migrate(connection, own_schema())
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """
    Open a connection that cannot write.
    """
    return connect(path, "ro", BUSY_TIMEOUT_MS, _EVERY_CONNECTION)


def prepare(path: Path) -> None:
    """
    Make the file where there is none, and begin anew where there is one that is damaged or no database.
    """
    make_private(path)
    try:
        with translated(FAULTS), closing(connect_writer(path)) as connection:
            if path.stat().st_size <= CHECKED_BYTES_MAX:
                _check(connection)
    except IndexDamaged as error:
        begin_anew(path, str(error))


def begin_anew(path: Path, reason: str) -> None:
    """
    Move a damaged file out of the way, its log with it, and put an empty database in its place.
    """
    kept = Path(f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for old, new in zip(files_of(path), files_of(kept), strict=True):
        with suppress(FileNotFoundError):
            old.rename(new)
    log.error("index_set_aside", path=str(path), kept_as=str(kept), reason=reason)
    make_private(path)
    with translated(FAULTS):
        connect_writer(path).close()


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise IndexDamaged(f"SQLite's check says: {verdict}")

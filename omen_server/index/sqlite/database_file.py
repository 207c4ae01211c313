"""
The database's file: private, owned by one process at a time, and set aside when it is no database any more.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from omen_server.index.errors import IndexDamaged, IndexFailed, IndexLocked, IndexTooNew
from omen_server.index.sqlite.connection import translated

APPLICATION_ID: Final = 0x4F4D4E49  # "OMNI": what `file` and the check below know our databases by.
# The first with STRICT tables; JSON functions are built in since 3.38, and were a usual part before.
VERSION_MIN: Final = (3, 37, 0)
BUSY_TIMEOUT_MS: Final = 10_000
# Looked through from end to end when it is opened: a second's work at most. Larger ones show their damage when it is
# met, and are set aside then.
CHECKED_BYTES_MAX: Final = 256 << 20

_EVERY_CONNECTION: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA mmap_size = 0",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -65536",
)
# A power cut may take the last transactions and never tears one: what is missing then is read from the ledger again.
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    f"PRAGMA journal_size_limit = {64 << 20}",
)

log = structlog.get_logger()


def connect_writer(path: Path) -> sqlite3.Connection:
    """
    Open the connection that writes, and bring its schema up to date.
    """
    connection = _connect(path, "rw", _WRITER)
    try:
        migrate(connection, migrations())
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """
    Open a connection that cannot write.
    """
    return _connect(path, "ro", ())


def migrations() -> list[str]:
    """
    Return the migrations' scripts; the first leads to version 1.
    """
    folder = resources.files(__package__)
    return [
        file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name[:4].isdigit()
    ]


def migrate(connection: sqlite3.Connection, scripts: list[str]) -> None:
    """
    Bring the database to the version that *scripts* lead to. A crash leaves it at a version, never between two.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if objects and application != APPLICATION_ID:
        raise IndexFailed("the file is an SQLite database of something else")
    if found > len(scripts):
        raise IndexTooNew(found, len(scripts))
    for version, script in enumerate(scripts[found:], found + 1):
        marks = f"PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID};"
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks} COMMIT;")


def prepare(path: Path) -> None:
    """
    Make the file where there is none, and begin anew where there is one that is damaged or no database.
    """
    make_private(path)
    try:
        with translated(), closing(connect_writer(path)) as connection:
            if path.stat().st_size <= CHECKED_BYTES_MAX:
                _check(connection)
    except IndexDamaged as error:
        begin_anew(path, str(error))


def begin_anew(path: Path, reason: str) -> None:
    """
    Move a damaged file out of the way, its log with it, and put an empty database in its place.
    """
    suffix = f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for name in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{name}").rename(f"{path}{suffix}{name}")
    log.error("index_set_aside", path=str(path), kept_as=f"{path}{suffix}", reason=reason)
    make_private(path)
    with translated():
        connect_writer(path).close()


def make_private(path: Path) -> None:
    """
    Make the database's file where there is none, with mode 0600, which SQLite's other files take from it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for name in (str(path), f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            Path(name).chmod(0o600)


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """
    Own the database at *path* while the block runs, through the lock file beside it, which names the owner's pid.

    The kernel lets go of the lock when the owner dies, however it dies. The file stays: were it removed, two processes
    could each lock a file of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = os.pread(descriptor, 20, 0).strip()
            raise IndexLocked(path, int(text) if text.isdigit() else None) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise IndexDamaged(f"SQLite's check says: {verdict}")


def _connect(path: Path, mode: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=64)
    try:
        for pragma in (*_EVERY_CONNECTION, *pragmas):
            connection.execute(pragma).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection

"""
The state's file: private, owned by one process at a time, and of a schema that this version knows.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

from reconciler.state.errors import StateFailed, StateLocked, StateTooNew

APPLICATION_ID: Final = 0x4F4D5253  # "OMRS": what `file` and the check below know our databases by.
# The first with STRICT tables; JSON functions are built in since 3.38, and were a usual part before.
VERSION_MIN: Final = (3, 37, 0)
BUSY_TIMEOUT_MS: Final = 10_000

_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA mmap_size = 0",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {16 << 20}",
)


def connect(path: Path) -> sqlite3.Connection:
    """
    Open the connection, and bring its schema up to date.
    """
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        _check_durable(connection)
        migrate(connection, migrations())
    except BaseException:
        connection.close()
        raise
    return connection


def _check_durable(connection: sqlite3.Connection) -> None:
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    if found != ["wal", 2]:
        raise StateFailed(f"journal_mode is {found[0]} and synchronous {found[1]}, not wal and 2")


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
        raise StateFailed("the file is an SQLite database of something else")
    if found > len(scripts):
        raise StateTooNew(found, len(scripts))
    for version, script in enumerate(scripts[found:], found + 1):
        marks = f"PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID};"
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks} COMMIT;")


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
            raise StateLocked(path, _pid(os.pread(descriptor, 20, 0))) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """
    Make the database's file where there is none, with mode 0600, which SQLite's other files take from it, and make
    its name survive a power cut.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None

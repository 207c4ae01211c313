"""
The desk's file: private, owned by one process at a time, and of a schema that this version knows.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Final

import aiosqlite
from filelock import FileLock, Timeout

from omen_server.desk.connection import scalar
from omen_server.desk.errors import DeskFailed, DeskLocked, DeskTooNew

APPLICATION_ID: Final = 0x4F4D4453  # "OMDS": what `file` and the check below know our databases by.
# The first with STRICT tables; RETURNING is older.
VERSION_MIN: Final = (3, 37, 0)


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """
    Own the database at *path* while the block runs, through the lock file beside it, which names the owner's pid.

    The kernel lets go of the lock when the owner dies. The file stays: were it removed, two processes could each lock
    a file of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Path(f"{path}.lock")
    lock = FileLock(place, timeout=0, thread_local=False, fallback_to_soft=False, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise DeskLocked(path, _pid(place.read_bytes()[:20])) from error
    try:
        place.write_bytes(b"%d\n" % os.getpid())
        yield
    finally:
        lock.release()


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


def migrations() -> list[str]:
    """
    Return the migrations' scripts; the first leads to version 1.
    """
    files = sorted(resources.files(__package__).iterdir(), key=lambda file: file.name)
    return [file.read_text() for file in files if file.name[:4].isdigit()]


async def migrate(connection: aiosqlite.Connection, scripts: list[str]) -> None:
    """
    Bring the database to the version that *scripts* lead to. A crash leaves it at a version, never between two.
    """
    version = str(await scalar(connection, "SELECT sqlite_version()"))
    if tuple(map(int, version.split("."))) < VERSION_MIN:
        raise DeskFailed(f"SQLite {version} is older than {'.'.join(map(str, VERSION_MIN))}")
    found = int(await scalar(connection, "PRAGMA user_version"))
    objects = int(await scalar(connection, "SELECT count(*) FROM sqlite_schema"))
    if objects and await scalar(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise DeskFailed("the file is an SQLite database of something else")
    if found > len(scripts):
        raise DeskTooNew(found, len(scripts))
    for number, script in enumerate(scripts[found:], found + 1):
        marks = f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID};"
        await connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks} COMMIT;")


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None

"""
The database's file: made private, owned by one server at a time.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from riskcast_server.store.errors import StoreLocked


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """
    Own the database at *path* while the block runs, through the lock file beside it, which names the owner's pid.

    The kernel lets go of the lock when the owner dies, however it dies. The file stays: were it removed, two servers
    could each lock a file of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreLocked(path, _pid(os.pread(descriptor, 20, 0))) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """
    Make the database's file where there is none, with mode 0600, which SQLite's other files take from it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        sync_directory(path.parent)
    for name in (str(path), f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.chmod(name, 0o600)  # noqa: PTH101 - beside os.open, in the same words.


def sync_directory(directory: Path) -> None:
    """
    Make the names in *directory* survive a power cut.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None

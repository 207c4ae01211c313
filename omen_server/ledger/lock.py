"""
One writing process a ledger. flock, never lockf: that one is lost when any other descriptor of the file closes.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from omen_storage.lock_file import is_held

from .durable import Disk, write_all
from .errors import LedgerLocked
from .names import LOCK

# A reader that asks whether somebody writes holds the lock for a moment; a writer outwaits it.
WAIT_S = 1.0


class WriterLock:
    """
    Held by the writer from before recovery until everything is closed; the kernel drops it when the process dies.
    """

    def __init__(self, disk: Disk, root: str) -> None:
        self._lock = FileLock(f"{root}/{LOCK}", timeout=WAIT_S, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(poll_interval=0.02)
        except Timeout as error:
            raise LedgerLocked(root, holder(disk, root)) from error
        _sign(disk, root)

    def release(self) -> None:
        """
        Let the next writer in. The file stays: removing it would split those who wait for it.
        """
        self._lock.release()


def is_locked(root: str) -> bool:
    """
    Tell whether some process writes the ledger at *root* right now.
    """
    return is_held(Path(root, LOCK))


def holder(disk: Disk, root: str) -> int | None:
    """
    Return the process id that the holder left in the lock file.
    """
    text = disk.read(f"{root}/{LOCK}").decode("ascii", "replace").strip() if disk.size(f"{root}/{LOCK}") else ""
    return int(text) if text.isdigit() else None


def _sign(disk: Disk, root: str) -> None:
    fd = disk.open(f"{root}/{LOCK}", create=False)
    try:
        disk.truncate(fd, 0)
        write_all(disk, fd, f"{os.getpid()}\n".encode(), 0)
    finally:
        disk.close(fd)

"""
Files whose flock says that somebody is at work. flock, never lockf: that one is lost when any other descriptor of the
file closes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def owned(path: Path, locked: Callable[[Path, int | None], Exception]) -> Iterator[None]:
    """
    Own the database at *path* while the block runs, through the lock file beside it, which names the owner's pid.

    The kernel lets go of the lock when the owner dies, however it dies. The file stays: were it removed, two processes
    could each lock a file of that name. Raises *locked*, of the path and the owner's pid, when another has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise locked(path, _pid(os.pread(descriptor, 20, 0))) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(file: Path) -> bool:
    """
    Tell whether some process holds the lock of *file* right now; one that is not there is held by nobody.

    Asks by a shared lock, so that two who ask at once do not take each other for the holder, and opens the file for
    reading only, so that a copy on a read-only disk can be asked about too. Whoever asks holds the lock for a moment:
    who may be asked about while it begins has to outwait that, which `owned` does not.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None

"""
The one file layer. Nothing else in the ledger asks the OS to change anything.

`Disk` is one OS call a method, so that a test can stand in its place and a reader can check it against the manual. The
functions below it are the few procedures that make a change survive a power cut; each says what a crash in it leaves.
"""

import errno
import os
from contextlib import closing
from pathlib import Path
from types import TracebackType

SEGMENT_MODE = 0o640
SEALED_MODE = 0o444
TEMPORARY = ".tmp"


class SyncFailed(OSError):
    """
    A sync failed. Never retried: the kernel has already forgotten which pages it could not write.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror, cause.filename)


class Disk:
    """
    The OS calls that the ledger uses, each once and unadorned.
    """

    def names(self, path: str) -> list[str]:
        """
        Return the names in a directory, sorted; none when there is no such directory.
        """
        try:
            return sorted(entry.name for entry in Path(path).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: str) -> int | None:
        """
        Return a file's size, or None when there is no such file.
        """
        try:
            return Path(path).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """
        Return a file's bytes from *start*, as many as there are up to *length*.
        """
        with Path(path).open("rb", buffering=0) as file:
            file.seek(start)
            if length is None:
                return file.readall()
            parts: list[bytes] = []
            while length > 0 and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def make_dir(self, path: str) -> None:
        """
        Make a directory that does not exist yet.
        """
        Path(path).mkdir(mode=0o750)

    def open_dir(self, path: str) -> int:
        """
        Open a directory, to sync it.
        """
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str, *, create: bool) -> int:
        """
        Open a file for writing at given places, making it when *create*.
        """
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT if create else 0), SEGMENT_MODE)

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        Write some of *data* and return how much.
        """
        return os.pwrite(fd, data, at)

    def truncate(self, fd: int, size: int) -> None:
        """
        Cut a file to *size*.
        """
        os.ftruncate(fd, size)

    def allocate(self, fd: int, size: int) -> None:
        """
        Take *size* bytes of the disk for a file, or fail.
        """
        os.posix_fallocate(fd, 0, size)

    def sync_data(self, fd: int) -> None:
        """
        Make a file's content and size durable.
        """
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        """
        Make a file or directory durable with all its metadata.
        """
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """
        Close a descriptor.
        """
        os.close(fd)

    def rename(self, source: str, target: str) -> None:
        """
        Give a file another name, taking the place of what had it.
        """
        Path(source).replace(target)

    def unlink(self, path: str) -> None:
        """
        Remove a name.
        """
        Path(path).unlink(missing_ok=True)

    def remove_dir(self, path: str) -> None:
        """
        Remove an empty directory.
        """
        Path(path).rmdir()

    def protect(self, path: str) -> None:
        """
        Take away the permission to write: a mark for people, root writes through it.
        """
        Path(path).chmod(SEALED_MODE)

    def free_bytes(self, path: str) -> int:
        """
        Return how much an unprivileged process may still write.
        """
        space = os.statvfs(path)
        return space.f_bavail * space.f_frsize


class SyncedDirectory:
    """
    A directory held open around a change of its names, and synced after it.

    Opened before the change: if opening failed after it, the change would be visible and could not be made durable.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._fd = disk.open_dir(path)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with closing(_Descriptor(self._disk, self._fd)):
            if error is None:
                settle(self._disk, self._fd)


class _Descriptor:
    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk = disk
        self._fd = fd

    def close(self) -> None:
        self._disk.close(self._fd)


def settle(disk: Disk, fd: int) -> None:
    """
    Make a file or directory durable, metadata included.
    """
    try:
        disk.sync(fd)
    except OSError as error:
        raise SyncFailed(error) from error


def settle_data(disk: Disk, fd: int) -> None:
    """
    Make a file's content durable.
    """
    try:
        disk.sync_data(fd)
    except OSError as error:
        raise SyncFailed(error) from error


def settle_directory(disk: Disk, path: str) -> None:
    """
    Make the names in a directory durable as they are now.
    """
    with SyncedDirectory(disk, path):
        pass


def write_all(disk: Disk, fd: int, data: bytes, at: int) -> None:
    """
    Write every byte of *data*; the OS may take it in parts.
    """
    rest = memoryview(data)
    while rest:
        taken = disk.write(fd, rest, at)
        if taken <= 0:
            # Nothing taken and no error: a file system that is full in its own words.
            raise OSError(errno.ENOSPC, "The OS took nothing")
        rest = rest[taken:]
        at += taken


def cut(disk: Disk, fd: int, size: int) -> None:
    """
    Take back what lies beyond *size*, durably.
    """
    disk.truncate(fd, size)
    settle_data(disk, fd)


def make_directory(disk: Disk, path: str) -> None:
    """
    Make a directory and its name in the parent durable. One that exists is made durable all the same.
    """
    parent, _, name = path.rpartition("/")
    with SyncedDirectory(disk, parent):
        if name not in disk.names(parent):
            disk.make_dir(path)


def create_file(disk: Disk, path: str) -> None:
    """
    Create an empty file and make it and its name durable. A crash leaves it or does not; it is empty in both cases.
    """
    with SyncedDirectory(disk, path.rpartition("/")[0]), closing(_Descriptor(disk, fd := disk.open(path, create=True))):
        settle(disk, fd)


def replace_file(disk: Disk, path: str, data: bytes) -> None:
    """
    Put *data* at *path*: temp, write, fsync(temp), replace, fsync(directory).

    A crash leaves the old bytes or the new ones under the name, and perhaps a temporary file that nobody reads.
    """
    temporary = path + TEMPORARY
    with SyncedDirectory(disk, path.rpartition("/")[0]):
        with closing(_Descriptor(disk, fd := disk.open(temporary, create=True))):
            disk.truncate(fd, 0)
            write_all(disk, fd, data, 0)
            settle(disk, fd)
        disk.rename(temporary, path)


def move(disk: Disk, source: str, target: str) -> None:
    """
    Move a file to another directory durably: the new name is durable before the old one may be gone.
    """
    with SyncedDirectory(disk, source.rpartition("/")[0]), SyncedDirectory(disk, target.rpartition("/")[0]):
        disk.rename(source, target)


def remove_file(disk: Disk, path: str) -> None:
    """
    Remove a name durably.
    """
    with SyncedDirectory(disk, path.rpartition("/")[0]):
        disk.unlink(path)

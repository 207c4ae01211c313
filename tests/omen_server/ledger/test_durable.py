"""
The file layer: what is synced, and in which order.
"""
# ruff: noqa: D102 - the methods of a disk that watches or fails are the real ones, and `Disk` describes them.

import errno
import os
from pathlib import Path

import pytest

from omen_server.ledger.durable import (
    Disk,
    SyncFailed,
    create_file,
    make_directory,
    move,
    remove_file,
    replace_file,
    settle_data,
    write_all,
)


class WatchedDisk(Disk):
    """
    A real disk that writes down what is asked of it.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at_most = 1 << 30
        self.fail = ""

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.fail == call.split(maxsplit=1)[0]:
            raise OSError(errno.EIO, "Injected")

    def _name(self, fd: int) -> str:
        return Path(f"/proc/self/fd/{fd}").readlink().name

    def open(self, path: str, *, create: bool) -> int:
        self._note(f"open {Path(path).name}")
        return super().open(path, create=create)

    def open_dir(self, path: str) -> int:
        self._note(f"open_dir {Path(path).name}")
        return super().open_dir(path)

    def make_dir(self, path: str) -> None:
        self._note(f"make_dir {Path(path).name}")
        super().make_dir(path)

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        self._note(f"write {self._name(fd)}")
        return super().write(fd, data[: self.at_most], at)

    def sync(self, fd: int) -> None:
        self._note(f"sync {self._name(fd)}")
        super().sync(fd)

    def sync_data(self, fd: int) -> None:
        self._note(f"sync_data {self._name(fd)}")
        super().sync_data(fd)

    def rename(self, source: str, target: str) -> None:
        self._note(f"rename {Path(source).name} {Path(target).name}")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._note(f"unlink {Path(path).name}")
        super().unlink(path)


def test_atomic_write_text_fsync_order(tmp_path: Path) -> None:
    """
    Replacing a file is temp, write, fsync(temp), replace, fsync(directory), the directory opened before anything.
    """
    disk = WatchedDisk()
    replace_file(disk, f"{tmp_path}/_CURRENT", b"signals-001.wal")
    assert disk.calls == [
        f"open_dir {tmp_path.name}",
        "open _CURRENT.tmp",
        "write _CURRENT.tmp",
        "sync _CURRENT.tmp",
        "rename _CURRENT.tmp _CURRENT",
        f"sync {tmp_path.name}",
    ]
    assert (tmp_path / "_CURRENT").read_bytes() == b"signals-001.wal"


@pytest.mark.parametrize("step", ["open_dir", "open", "write", "sync", "rename"])
def test_failed_replace_leaves_the_old_file(tmp_path: Path, step: str) -> None:
    """
    Whatever step fails, the name still holds the old bytes, or after the rename the new ones: never a mixture.
    """
    disk = WatchedDisk()
    replace_file(disk, f"{tmp_path}/_CURRENT", b"old")
    disk.fail = step
    with pytest.raises(OSError, match="Injected"):
        replace_file(disk, f"{tmp_path}/_CURRENT", b"new and longer")
    assert (tmp_path / "_CURRENT").read_bytes() == b"old"


def test_shorter_content_replaces_a_longer_leftover(tmp_path: Path) -> None:
    """
    A temporary file that a crash left does not show through behind shorter bytes.
    """
    (tmp_path / "_CURRENT.tmp").write_bytes(b"a long leftover of a crash")
    replace_file(Disk(), f"{tmp_path}/_CURRENT", b"short")
    assert (tmp_path / "_CURRENT").read_bytes() == b"short"


def test_new_file_is_synced_with_its_directory(tmp_path: Path) -> None:
    """
    A segment is synced, and then the directory that holds its name.
    """
    disk = WatchedDisk()
    create_file(disk, f"{tmp_path}/signals-001.wal")
    assert disk.calls[-2:] == ["sync signals-001.wal", f"sync {tmp_path.name}"]


def test_new_directory_is_synced_into_its_parent(tmp_path: Path) -> None:
    """
    A partition's directory survives a power cut from the moment it is made, and one that exists is made durable too.
    """
    disk = WatchedDisk()
    make_directory(disk, f"{tmp_path}/2026-01-28")
    make_directory(disk, f"{tmp_path}/2026-01-28")
    assert disk.calls == [
        f"open_dir {tmp_path.name}",
        "make_dir 2026-01-28",
        f"sync {tmp_path.name}",
        f"open_dir {tmp_path.name}",
        f"sync {tmp_path.name}",
    ]


def test_move_and_remove_are_synced(tmp_path: Path) -> None:
    """
    A move syncs both directories, a removal the one.
    """
    disk = WatchedDisk()
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from" / "file").touch()
    move(disk, f"{tmp_path}/from/file", f"{tmp_path}/to/file")
    assert disk.calls[-2:] == ["sync to", "sync from"]
    remove_file(disk, f"{tmp_path}/to/file")
    assert disk.calls[-2:] == ["unlink file", "sync to"]


def test_write_goes_on_after_a_short_one(tmp_path: Path) -> None:
    """
    The OS may take a write in parts; all of them arrive.
    """
    disk = WatchedDisk()
    disk.at_most = 3
    fd = disk.open(f"{tmp_path}/file", create=True)
    write_all(disk, fd, b"0123456789", 0)
    disk.close(fd)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_write_that_takes_nothing_is_a_full_disk(tmp_path: Path) -> None:
    """
    A write that takes nothing and reports nothing ends as ENOSPC and not as an endless loop.
    """
    disk = WatchedDisk()
    disk.at_most = 0
    fd = disk.open(f"{tmp_path}/file", create=True)
    with pytest.raises(OSError, match="nothing") as failure:
        write_all(disk, fd, b"0123456789", 0)
    disk.close(fd)
    assert failure.value.errno == errno.ENOSPC


def test_failed_sync_has_a_name_of_its_own(tmp_path: Path) -> None:
    """
    A sync that fails is told from every other failure, since nobody may try it again.
    """
    disk = WatchedDisk()
    fd = disk.open(f"{tmp_path}/file", create=True)
    disk.fail = "sync_data"
    with pytest.raises(SyncFailed):
        settle_data(disk, fd)
    disk.close(fd)


def test_sealed_files_lose_the_permission_to_write(tmp_path: Path) -> None:
    """
    A sealed segment has the mode 0444, as a mark.
    """
    (tmp_path / "file").touch()
    Disk().protect(f"{tmp_path}/file")
    assert os.stat(tmp_path / "file").st_mode & 0o777 == 0o444  # noqa: PTH116 - the mode is the point.

"""
The proof of durable metadata: every replaced file is temp, write, fsync(temp), rename, fsync(directory).
"""
# ruff: noqa: D102 - the methods of a disk that is watched are the real ones, and `Disk` describes them.

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from omen_cli.demo.claims import Claim, Show
from omen_cli.demo.ten import DAY, LATE_AT, Clock, entry, the_ten
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk, replace_file
from omen_server.ledger.offline import OfflineLedger
from omen_server.records import SIGNALS

FILES = ("_CURRENT", "_SEALED", "_manifest.json")
STEPS = ("write", "sync temporary", "rename", "sync directory")

ORDERED = Claim(
    "metadata",
    "_CURRENT, _manifest.json and _SEALED survive a power cut: each is written aside, synced, renamed, synced.",
    "tests/omen_server/ledger/test_durable.py::test_atomic_write_text_fsync_order",
)
OLD_OR_NEW = Claim(
    "metadata-old-or-new",
    "A crash before any of those calls leaves the old bytes or the new ones under the name, never a mixture.",
    "tests/omen_server/ledger/test_durable.py::test_failed_replace_leaves_the_old_file",
)
CLAIMS = (ORDERED, OLD_OR_NEW)


class WatchedDisk(Disk):
    """
    A real disk that writes down what is asked of it; with a number of calls left it dies behind the last of them.
    """

    def __init__(self, calls_left: int = 1 << 30) -> None:
        self.calls: list[tuple[str, str]] = []
        self._left = calls_left
        self._names: dict[int, str] = {}

    def open(self, path: str, *, create: bool) -> int:
        fd = super().open(path, create=create)
        self._names[fd] = path
        return fd

    def open_dir(self, path: str) -> int:
        fd = super().open_dir(path)
        self._names[fd] = path
        return fd

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        self._note("write", self._names[fd])
        return super().write(fd, data, at)

    def sync(self, fd: int) -> None:
        self._note("sync", self._names[fd])
        super().sync(fd)

    def rename(self, source: str, target: str) -> None:
        self._note("rename", target)
        super().rename(source, target)

    def _note(self, call: str, path: str) -> None:
        if len(self.calls) >= self._left:
            raise PowerCut
        self.calls.append((call, path))


class PowerCut(BaseException):
    """
    Nothing comes behind this: no handler of an OSError cleans up after a power cut.
    """


async def metadata(place: Path, show: Show) -> None:
    """
    Watch a real ledger's calls from its first record to its seal; then replay a replacement up to each of its calls.
    """
    directory = place / "metadata" / "ledger"
    with show.step(ORDERED) as step:
        disk, clock = WatchedDisk(), Clock()
        async with open_ledger(directory, SIGNALS, now=clock, disk=disk) as ledger:
            for each in the_ten():
                clock.now = max(clock.now, each.emitted_at)
                await ledger.append([entry(each)])
            clock.now = LATE_AT
            await ledger.seal(DAY)
        for name in FILES:
            step.saw(name, order(disk.calls, f"{directory}/{DAY}/{name}"), list(STEPS))
        step.saw("sealed", OfflineLedger(directory, SIGNALS).partition(DAY).is_sealed, True)
    with show.step(OLD_OR_NEW) as step:
        path = place / "metadata" / "_CURRENT"
        found = [_left_behind(path, calls) for calls in range(len(STEPS))]
        step.saw("left_behind", found, ["old", "old", "old", "new"])


def order(calls: Sequence[tuple[str, str]], path: str) -> list[str]:
    """
    Return what was done around the first rename to *path*, in order; nothing when there was none.
    """
    parent, temporary = path.rpartition("/")[0], f"{path}.tmp"
    if ("rename", path) not in calls:
        return []
    renamed = calls.index(("rename", path))
    names = {
        ("write", temporary): "write",
        ("sync", temporary): "sync temporary",
        ("rename", path): "rename",
        ("sync", parent): "sync directory",
    }
    began = max((at for at in range(renamed) if calls[at][0] == "rename"), default=0)
    done = [names[call] for call in calls[began : renamed + 1] if names.get(call) not in (None, "sync directory")]
    behind = calls[renamed + 1] if renamed + 1 < len(calls) else ("", "")
    return [*done, names.get(behind, "")]


def _left_behind(path: Path, calls: int) -> str:
    """
    Replace a file and cut the power behind so many calls; return whose bytes its name has.
    """
    old, new = b"signals-001.wal", b"signals-002.wal, which is longer"
    replace_file(Disk(), str(path), old)
    with suppress(PowerCut):
        replace_file(WatchedDisk(calls), str(path), new)
    return {old: "old", new: "new"}.get(path.read_bytes(), "a mixture")

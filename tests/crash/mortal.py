"""
Lives through one short history of a ledger again and again, and kills itself at the next file operation each time.

    python -m tests.crash.mortal DIRECTORY

Each life is a process of its own with a ledger of its own, `DIRECTORY/N`, and dies by SIGKILL right before its N-th
change of a file; a write counts twice, and may be left half done. `DIRECTORY/N.said` holds what it told the world until
then, and last of all what it died at. The life that reaches the end says so, and none follows it.
"""

import asyncio
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.settings import LedgerSettings
from tests.crash.records import NOTES, note

DAY = datetime(2026, 1, 28, 12, tzinfo=UTC)
PRODUCERS = 32
SETTINGS = LedgerSettings(
    segment_records_max=20,
    ballast_bytes=1 << 12,
    resume_free_bytes=0,
    hot_days=1.0,
    warm_days=2.0,
    retention_days=100.0,
)
END = "the end"


class MortalDisk(Disk):
    """
    The real disk, under a process that has so many changes to live.
    """

    def __init__(self, root: Path, dies_at: int, said: int) -> None:
        self._root = root
        self._left = dies_at
        self._said = said

    def _before(self, kind: str, what: str | int) -> None:
        """
        Die, saying what comes next, when it is time. *what* is a path or a descriptor.
        """
        self._left -= 1
        if self._left == 0:
            path = what if isinstance(what, str) else Path(f"/proc/self/fd/{what}").readlink()
            os.write(self._said, f"died before {kind} {os.path.relpath(path, self._root)}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def make_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._before("make_dir", path)
        super().make_dir(path)

    def open(self, path: str, *, create: bool) -> int:
        """
        See `Disk`. Opening what is there changes nothing.
        """
        if create and self.size(path) is None:
            self._before("create", path)
        return super().open(path, create=create)

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        See `Disk`.
        """
        self._before("write", fd)
        if self._left == 1:
            super().write(fd, data[: len(data) // 2], at)
        self._before("the other half of", fd)
        return super().write(fd, data, at)

    def truncate(self, fd: int, size: int) -> None:
        """
        See `Disk`.
        """
        self._before("truncate", fd)
        super().truncate(fd, size)

    def allocate(self, fd: int, size: int) -> None:
        """
        See `Disk`.
        """
        self._before("allocate", fd)
        super().allocate(fd, size)

    def sync_data(self, fd: int) -> None:
        """
        See `Disk`.
        """
        self._before("sync_data", fd)
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        """
        See `Disk`.
        """
        self._before("sync", fd)
        super().sync(fd)

    def rename(self, source: str, target: str) -> None:
        """
        See `Disk`.
        """
        self._before("rename", target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._before("unlink", path)
        super().unlink(path)

    def remove_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._before("remove_dir", path)
        super().remove_dir(path)

    def protect(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._before("protect", path)
        super().protect(path)


@dataclass(slots=True)
class Life:
    """
    One run of the history. `said` takes one line for whatever the ledger answered, as soon as it did.
    """

    place: Path
    disk: Disk
    said: int
    now: datetime = DAY

    def say(self, words: str) -> None:
        """
        Tell the world; a line that was written is there after any SIGKILL.
        """
        os.write(self.said, f"{words}\n".encode())

    async def append(self, ledger: Ledger, *records: tuple[int, datetime]) -> None:
        """
        Append records of a number and a moment, and say each one's offset once it is acknowledged.
        """
        positions = await ledger.append([note(number, emitted_at) for number, emitted_at in records])
        for position, (number, _) in zip(positions, records, strict=True):
            self.say(f"appended {position.offset} OMEN-{number:06d}")

    async def seal(self, ledger: Ledger, name: str) -> None:
        """
        Seal a partition and say so.
        """
        await ledger.seal(name, force=True)
        self.say(f"sealed {name}")

    async def run(self) -> None:
        """
        Append from 32 producers over a roll, seal, take late arrivals, confirm, seal those, grow old, start again.
        """
        day, next_day = DAY.date().isoformat(), DAY + timedelta(days=1)
        async with open_ledger(self.place, NOTES, SETTINGS, lambda: self.now, self.disk) as ledger:
            await asyncio.gather(*(self.append(ledger, (number, DAY)) for number in range(PRODUCERS)))
            self.now = next_day
            await self.append(ledger, (40, next_day), (41, DAY), (42, next_day))
            await self.seal(ledger, day)
            await self.append(ledger, (50, DAY), (51, next_day), (52, DAY))
            through = await ledger.confirm_reconciled(day, ledger.durable_index(day))
            self.say(f"confirmed {through}")
            await self.seal(ledger, f"{day}-late")
            await self.append(ledger, (60, DAY))
            self.now = next_day + timedelta(days=3)
            await ledger.run_lifecycle(dry_run=False)
        async with open_ledger(self.place, NOTES, SETTINGS, lambda: self.now, self.disk) as ledger:
            await self.append(ledger, (70, next_day), (71, DAY))
            self.now = next_day + timedelta(days=200)
            self.say(f"deleting {day}")
            await ledger.run_lifecycle(dry_run=False)
            await self.append(ledger, (80, self.now), (81, DAY))


def live(directory: Path, dies_at: int) -> bool:
    """
    Fork a process that lives through the history; tell whether it reached the end.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return False
        if status:
            raise SystemExit(f"The life that was to end at operation {dies_at} ended by itself, see above")
        return True
    try:
        # Threads take turns only where one waits, so that every life makes the same operations in the same order.
        sys.setswitchinterval(60)
        said = os.open(directory / f"{dies_at}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        place = directory.absolute() / str(dies_at)
        life = Life(place, MortalDisk(place, dies_at, said), said)
        asyncio.run(life.run())
        life.say(END)
    except BaseException:  # noqa: BLE001 - whatever it was, a fork must not go on as its parent.
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """
    Live until a life reaches the end.
    """
    directory, dies_at = Path(sys.argv[1]), 1
    while not live(directory, dies_at):
        dies_at += 1


if __name__ == "__main__":
    main()

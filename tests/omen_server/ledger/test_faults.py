"""
The OS says no: EIO, a full disk, a short write, anything else, at every call, once and for ever.
"""
# ruff: noqa: D102 - the methods of a disk that watches or fails are the real ones, and `Disk` describes them.

import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from omen_rpc.position import Position
from omen_server.ledger import seal
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.ledger.errors import LedgerError, LedgerFull, LedgerPoisoned, LedgerWriteError
from omen_server.ledger.journal import Journal
from omen_server.ledger.recovery import recover
from omen_server.ledger.segment import Record
from omen_server.ledger.settings import LedgerSettings
from tests.conftest import need
from tests.crash.explorer import DAYS, START, Remembered
from tests.crash.images import kill, power_cut
from tests.crash.promises import ROOT, Promises, promise_recovered
from tests.crash.records import NOON, NOTES, Note, note
from tests.crash.simulated import Faults, SimulatedDisk
from tests.omen_server.ledger.conftest import Opener

SETTINGS = LedgerSettings(segment_records_max=3, batch_records_max=8, ballast_bytes=0, resume_free_bytes=0)
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EACCES": errno.EACCES}


class Run:
    """
    A short life of a ledger on a simulated disk: appends over two days and rolls, a seal, a late arrival.
    """

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.promises = Promises()
        self.stamped: dict[int, bytes] = {}
        self.errors: list[BaseException] = []
        self.start()

    def start(self) -> None:
        """
        Recover and take records.
        """
        recovered = recover(self.disk, ROOT, SETTINGS, NOTES)
        promise_recovered(self.disk, recovered, self.promises)
        self.journal = Journal(self.disk, ROOT, SETTINGS, lambda: START, recovered)

    def live(self) -> None:
        """
        Do everything once, taking down each error and going on.
        """
        self.append(4, 0)
        self.append(3, 1)
        self.attempt_seal()
        self.append(2, 1)
        self.append(2, 0)

    def append(self, count: int, day: int) -> None:
        """
        Append some records and promise what the journal says is durable.
        """
        entries = [
            Entry(DAYS[day], Remembered(Note(f"OMEN-{at:06d}"), self.stamped, self.promises.tried))
            for at in range(count)
        ]
        try:
            self.journal.commit(self.journal.route(DAYS[day], set()), entries, [])
        except LedgerError as error:
            self.errors.append(error)
        for offset in range(max(self.promises.kept, default=0) + 1, self.journal.durable_offset + 1):
            self.promises.kept[offset] = self.stamped[offset]

    def attempt_seal(self) -> None:
        """
        Seal yesterday, if it is there.
        """
        name = DAYS[1].date().isoformat()
        tail = self.journal.tails().get(name)
        if tail is None or tail.index == 0 or self.journal.poison is not None:
            return
        through = self.journal.freeze(name)
        try:
            seal.seal(self.disk, ROOT, name, through, codec=NOTES, now=lambda: START)
        except OSError as error:
            self.errors.append(self.journal.fail(error))
            self.journal.thaw(name)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """
    Hundreds of failures need not be logged.
    """
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def calls_of_a_life() -> int:
    """
    Return how many calls that can fail one life makes.
    """
    disk = SimulatedDisk.holding({ROOT: None})
    run = Run(disk)
    disk.faults = Faults("any")
    run.live()
    return disk.faults.calls


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", [*FAULTS, "short write"])
def test_fault_at_every_call(fault: str, *, forever: bool) -> None:
    """
    Wherever the OS fails, the error is a typed one, nothing promised is lost, and the ledger goes on where it may.
    """
    kind = "write" if fault == "short write" else "any"
    for at in range(1, calls_of_a_life() + 1):
        disk = SimulatedDisk.holding({ROOT: None})
        run = Run(disk)
        disk.faults = Faults(kind, at, FAULTS.get(fault, 0), forever=forever, short=fault == "short write")
        run.live()
        assert all(isinstance(error, LedgerWriteError | LedgerPoisoned) for error in run.errors)
        disk.faults = Faults()
        if run.journal.poison is not None:
            assert isinstance(run.errors[-1], LedgerPoisoned)
            run.start()
        elif fault == "short write":
            assert run.errors == []
        run.errors.clear()
        run.append(3, 0)
        assert run.errors == [], (fault, at)
        for image in (kill(disk.state), power_cut(disk.state)):
            again = SimulatedDisk.holding(image)
            promise_recovered(
                again,
                recover(again, ROOT, SETTINGS, NOTES),
                Promises(dict(run.promises.kept), set(), run.promises.tried),
            )


class FailingDisk(Disk):
    """
    A real disk on which the next call of one kind fails, once or until it is told otherwise.
    """

    def __init__(self) -> None:
        self.fails = ""
        self.error = 0
        self.free: int | None = None

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        if self.fails == "write":
            super().write(fd, data[: len(data) // 2], at)
            raise OSError(self.error, os.strerror(self.error))
        return super().write(fd, data, at)

    def sync_data(self, fd: int) -> None:
        if self.fails == "sync_data":
            raise OSError(self.error, os.strerror(self.error))
        super().sync_data(fd)

    def free_bytes(self, path: str) -> int:
        return super().free_bytes(path) if self.free is None else self.free


async def test_full_disk_is_read_only_until_space_is_back(opened: Opener, place: Path) -> None:
    """
    On a full disk appends fail by type, what is there is read, the ballast is freed; with space back appending goes on.
    """
    disk = FailingDisk()
    async with opened(disk, resume_free_bytes=1000) as ledger:

        def why() -> LedgerFull | None:
            return ledger.read_only

        await ledger.append([note(1)])
        assert not why()
        disk.fails, disk.error, disk.free = "write", errno.ENOSPC, 10
        with pytest.raises(LedgerFull):
            await ledger.append([note(2)])
        assert not (place / "_BALLAST").exists()
        disk.fails = ""
        with pytest.raises(LedgerFull) as refusal:
            await ledger.append([note(3)])
        assert refusal.value.free_bytes == 10
        assert isinstance(why(), LedgerFull)
        assert len([item async for batch in ledger.read() for item in batch]) == 1
        disk.free = 5000
        assert not why()
        [position] = await ledger.append([note(4)])
        assert position.offset == 2
        assert (place / "_BALLAST").exists()


async def test_partly_durable_call_says_so(opened: Opener) -> None:
    """
    When the disk fills in the middle of a call, the error names the positions that are durable nevertheless.
    """

    class SecondWriteFails(FailingDisk):
        count = 0

        def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
            self.count += self.fails == "second"
            if self.count == 2:
                raise OSError(errno.ENOSPC, "Full")
            return super().write(fd, data, at)

    disk = SecondWriteFails()
    async with opened(disk) as ledger:
        await ledger.append([note(0), note(0, NOON - timedelta(days=1))])
        disk.fails = "second"
        with pytest.raises(LedgerFull) as failure:
            await ledger.append([note(1), note(2, NOON - timedelta(days=1))])
        assert [position.offset for position in failure.value.durable] == [3]
        assert ledger.durable_offset == 3


async def test_failed_sync_poisons(opened: Opener) -> None:
    """
    After a failed sync the outcome is unknown: everybody is told so, nothing is tried again, the process must end.
    """
    disk = FailingDisk()
    async with opened(disk) as ledger:
        await ledger.append([note(1)])
        disk.fails, disk.error = "sync_data", errno.EIO
        with pytest.raises(LedgerPoisoned):
            await ledger.append([note(2)])
        disk.fails = ""
        assert isinstance(await ledger.failed, LedgerPoisoned)
        with pytest.raises(LedgerPoisoned):
            await ledger.append([note(3)])
        assert ledger.durable_offset == 1
        found = [item async for batch in ledger.read() for item in batch]
        assert [item.position.offset for item in found if isinstance(item, Record)] == [1]


async def test_other_errors_cost_only_their_call(opened: Opener) -> None:
    """
    Any other refusal is a typed error with its cause, no counter moves, and the next append works.
    """
    disk = FailingDisk()
    async with opened(disk) as ledger:
        await ledger.append([note(1)])
        disk.fails, disk.error = "write", errno.EACCES
        with pytest.raises(LedgerWriteError) as failure:
            await ledger.append([note(2)])
        assert isinstance(failure.value.cause, PermissionError)
        disk.fails = ""
        [position] = await ledger.append([note(3)])
        assert (position.index, position.offset) == (2, 2)


async def test_recovery_that_fails_opens_nothing(opened: Opener) -> None:
    """
    A disk that fails while recovering lets nothing be served, and the lock is free afterwards.
    """

    class BrokenDisk(Disk):
        def sync(self, fd: int) -> None:
            raise OSError(errno.EIO, str(fd))

    async with opened() as ledger:
        await ledger.append([note(1)])
    with pytest.raises(LedgerPoisoned):
        async with opened(BrokenDisk()):
            pass
    async with opened() as ledger:
        assert ledger.durable_offset == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    Mount a file system of 2 MiB; without the right to mount the test fails in CI and is skipped elsewhere, aloud.
    """
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        [need("mount"), "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False, text=True
    )
    if mounted.returncode:
        message = f"no tmpfs can be mounted here: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield place
    finally:
        subprocess.run([need("umount"), place], check=True)


async def test_really_full_disk(small_disk: Path) -> None:
    """
    On a real file system that fills up, everything acknowledged is still there, and space freed is used again.
    """
    settings = LedgerSettings(ballast_bytes=64 << 10, resume_free_bytes=256 << 10, segment_bytes_max=200_000)
    other = small_disk / "somebody else's file"
    other.write_bytes(bytes(1 << 20))
    kept: list[int] = []
    async with open_ledger(small_disk / "ledger", NOTES, settings, lambda: NOON) as ledger:
        with pytest.raises(LedgerFull):
            while True:
                kept += [position.offset for position in await ledger.append([note(1, text="x" * 9000)])]
        assert len(kept) > 20
        with pytest.raises(LedgerFull):
            await ledger.append([note(2)])
        other.unlink()
        kept += [position.offset for position in await ledger.append([note(3)])]
    async with open_ledger(small_disk / "ledger", NOTES, settings, lambda: NOON) as ledger:
        found = [item async for batch in ledger.read() for item in batch]
    assert [item.position.offset for item in found if isinstance(item, Record)] == kept == list(range(1, len(kept) + 1))


def test_failed_sync_is_never_tried_again() -> None:
    """
    After EIO on a sync the journal makes no further call: a second sync would report success for bytes that are gone.
    """
    disk = SimulatedDisk.holding({ROOT: None})
    run = Run(disk)
    run.append(1, 0)
    disk.faults = Faults("sync", 1, errno.EIO)
    run.append(1, 0)
    syncs = disk.syncs
    disk.faults = Faults()
    with suppress(LedgerPoisoned):
        run.journal.commit(DAYS[0].date().isoformat(), [note(1, DAYS[0])], [])
    assert disk.syncs == syncs


def test_segment_behind_a_failed_roll_takes_nothing() -> None:
    """
    A roll that failed half-way has left a newer segment: even a record that the older one had room for goes there.
    """
    disk = SimulatedDisk.holding({ROOT: None})
    settings = LedgerSettings(segment_bytes_max=900, ballast_bytes=0, resume_free_bytes=0)
    journal = Journal(disk, ROOT, settings, lambda: START, recover(disk, ROOT, settings, NOTES))
    day = journal.route(START, set())
    journal.commit(day, [note(1, START)], [])
    disk.faults = Faults("write", 1, errno.ENOSPC)
    with pytest.raises(LedgerFull):
        journal.commit(day, [note(2, START, "x" * 800)], [])
    disk.faults = Faults()
    results: list[Position | LedgerError] = []
    journal.commit(day, [note(3, START)], results)
    assert [result.sequence for result in results if isinstance(result, Position)] == [2 << 32 | 1]

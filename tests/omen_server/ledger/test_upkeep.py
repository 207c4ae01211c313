"""
What the server does for its ledger by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from omen_rpc import metrics
from omen_server.ledger import upkeep
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.errors import LedgerFull
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS
from tests.ledgers import DAY, LATE, NOON, Clock, entries, opened

OFTEN_S = 0.001
DAY_END = NOON + timedelta(hours=12)


@asynccontextmanager
async def running(loop: Any, ledger: Ledger, *arguments: Any) -> AsyncIterator[asyncio.Task[None]]:
    """
    Run one of the loops while the block runs; leaving stops it as a drain does.
    """
    stopping = asyncio.Event()
    task = asyncio.create_task(loop(ledger, OFTEN_S, stopping, *arguments))
    try:
        yield task
    finally:
        stopping.set()
        async with asyncio.timeout(30):
            await task


async def until(condition: Any) -> None:
    """
    Wait until *condition* holds.
    """
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(OFTEN_S)


async def test_a_quiet_day_is_sealed_in_time(place: Path) -> None:
    """
    A day is sealed four hours after its end and not before; arrivals go late, and those are sealed three days later.
    """
    clock = Clock()
    async with opened(place, clock) as ledger, running(upkeep.seal_when_due, ledger):
        await ledger.append(entries([1]))
        clock.now = DAY_END + timedelta(hours=4) - timedelta(seconds=1)
        await ledger.append(entries([2], clock.now))
        assert not ledger.names()[DAY]
        clock.now = DAY_END + timedelta(hours=4)
        await until((place / DAY / "_SEALED").exists)
        [position] = await ledger.append(entries([3]))
        assert position.partition == LATE
        clock.now += timedelta(days=3)
        await until((place / LATE / "_SEALED").exists)


async def test_seals_are_told(place: Path) -> None:
    """
    A seal by schedule is counted and logged with the root, so that the root leaves the machine.
    """
    clock = Clock(DAY_END)
    before = metrics.LEDGER_SEALS._value.get()
    with capture_logs() as logs:
        async with opened(place, clock) as ledger, running(upkeep.seal_when_due, ledger):
            await ledger.append(entries([1]))
            clock.now = DAY_END + timedelta(hours=5)
            await until(lambda: metrics.LEDGER_SEALS._value.get() > before)
            root = (await ledger.partition(DAY)).merkle_root
    [line] = [line for line in logs if line["event"] == "partition_sealed"]
    assert (line["partition"], line["merkle_root"], line["by"]) == (DAY, root, "schedule")


async def test_one_that_cannot_be_sealed_holds_up_no_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When sealing one partition fails, the others are sealed and the loop goes on.
    """
    clock = Clock(DAY_END)
    async with opened(place, clock) as ledger:
        await ledger.append(entries([1], NOON - timedelta(days=1)))
        await ledger.append(entries([2]))
        seal = ledger.seal

        async def fail_first(name: str, **more: Any) -> Any:
            if name == "2026-01-27":
                raise RuntimeError("cannot")
            return await seal(name, **more)

        monkeypatch.setattr(ledger, "seal", fail_first)
        clock.now = DAY_END + timedelta(days=2)
        with capture_logs() as logs:
            async with running(upkeep.seal_when_due, ledger) as task:
                await until((place / DAY / "_SEALED").exists)
                assert not task.done()
        assert {line["partition"] for line in logs if line["event"] == "seal_failed"} == {"2026-01-27"}


async def test_old_partitions_are_aged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What has come of age is compressed by itself, and a run that fails is followed by another.
    """
    clock = Clock(DAY_END + timedelta(hours=6))
    async with opened(place, clock) as ledger:
        await ledger.append(entries(range(10)))
        await ledger.seal(DAY)
        clock.now += timedelta(days=8)
        run, failures = ledger.run_lifecycle, [OSError("once")]

        async def fail_once(*, dry_run: bool) -> Any:
            if failures:
                raise failures.pop()
            return await run(dry_run=dry_run)

        monkeypatch.setattr(ledger, "run_lifecycle", fail_once)
        with capture_logs() as logs:
            async with running(upkeep.run_lifecycle, ledger):
                await until(lambda: not list((place / DAY).glob("*.wal")))
        assert {line["event"] for line in logs} >= {"lifecycle_failed", "lifecycle"}


class NarrowDisk(Disk):
    """
    A disk that is as full as the test says.
    """

    full = False

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        Write, while there is room.
        """
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(fd, data, at)

    def free_bytes(self, path: str) -> int:
        """
        Return how much room there is.
        """
        return 0 if self.full else super().free_bytes(path)


async def test_a_full_disk_is_told_and_taken_back(place: Path) -> None:
    """
    The watch says once that the ledger cannot write, and once that it can again.
    """
    disk = NarrowDisk()
    told: list[bool] = []
    async with (
        opened(place, disk=disk, resume_free_bytes=1) as ledger,
        running(upkeep.watch_space, ledger, told.append),
    ):
        await ledger.append(entries([1]))
        disk.full = True
        with pytest.raises(LedgerFull):
            await ledger.append(entries([2]))
        await until(lambda: told == [True])
        disk.full = False
        await until(lambda: told == [True, False])
        await ledger.append(entries([2]))
    assert told == [True, False]


async def test_syncs_are_counted(place: Path) -> None:
    """
    Records, bytes, batches and syncs are counted as they become durable.
    """
    appends, size = metrics.LEDGER_APPENDS._value.get(), metrics.LEDGER_WRITTEN_BYTES._value.get()
    syncs = metrics.LEDGER_BATCH_RECORDS._sum.get()
    settings = LedgerSettings(ballast_bytes=0, resume_free_bytes=0)
    async with open_ledger(place, SIGNALS, settings, Clock(), synced=upkeep.count_synced) as ledger:
        await ledger.append(entries(range(10)))
        upkeep.expose(ledger)
        text = metrics.exposition().decode()
        assert 'omen_ledger_offset{state="durable"} 10.0' in text
        assert 'omen_ledger_partitions{state="open"} 1.0' in text
        assert metrics.LEDGER_DISK_FREE_BYTES.collect()
    assert metrics.LEDGER_APPENDS._value.get() - appends == 10
    written = metrics.LEDGER_WRITTEN_BYTES._value.get() - size
    assert written == (place / DAY / "signals-001.wal").stat().st_size
    assert metrics.LEDGER_BATCH_RECORDS._sum.get() - syncs == 10

"""
The ledger as the rest of the server sees it: append, close, restart.
"""
# ruff: noqa: ASYNC240 - a test may look at its files while nothing else runs.
# ruff: noqa: D102 - the methods of a disk that watches or fails are the real ones, and `Disk` describes them.

import asyncio
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from omen_rpc.position import Position
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.ledger.errors import (
    EmittedAhead,
    LedgerClosed,
    LedgerLocked,
    LedgerWriteError,
    NaiveTime,
    NotALedger,
    RecordTooLarge,
    TooManyOpenPartitions,
)
from tests.crash.records import NOON, NOTES, Note, note
from tests.omen_server.ledger.conftest import Clock, Opener, records

DAY = "2026-01-28"


class CountingDisk(Disk):
    """
    A real disk that counts its syncs, and waits before each one when it is told to.
    """

    def __init__(self) -> None:
        self.data_syncs = 0

    def sync_data(self, fd: int) -> None:
        self.data_syncs += 1
        super().sync_data(fd)


async def test_first_positions(opened: Opener) -> None:
    """
    The first record of a partition has sequence 4294967297, position 1 and offset 1.
    """
    async with opened() as ledger:
        [first] = await ledger.append([note(1)])
        assert first == Position(DAY, 4294967297, 1, 1, 0, 1769601600 * 10**9)
        assert ledger.durable_offset == 1


async def test_ledger_sequence_monotonic_across_rollover(opened: Opener) -> None:
    """
    Sequences rise strictly over three rolls and two restarts, positions and offsets have no hole.
    """
    positions: list[Position] = []
    seen: list[Position] = []
    for _ in range(3):
        async with opened(segment_records_max=4) as ledger:
            for number in range(5):
                positions += await ledger.append([note(number)])
            seen = [item.position for item in await records(ledger)]
    sequences = [position.sequence for position in positions]
    assert sequences == sorted(set(sequences))
    assert {sequence >> 32 for sequence in sequences} >= {1, 2, 3, 4}
    assert [position.offset for position in positions] == list(range(1, 16))
    assert [position.index for position in positions] == list(range(1, 16))
    assert seen == positions


async def test_rollover_creates_new_segment(opened: Opener, place: Path) -> None:
    """
    A full segment is left for the next one, by count or by size; `_CURRENT` follows, the old one becomes read-only.
    """
    async with opened(segment_records_max=2) as ledger:
        await ledger.append([note(number) for number in range(3)])
    partition = place / DAY
    assert sorted(file.name for file in partition.glob("*.wal")) == ["signals-001.wal", "signals-002.wal"]
    assert (partition / "_CURRENT").read_text() == "signals-002.wal"
    assert (partition / "signals-001.wal").stat().st_mode & 0o777 == 0o444
    async with opened(segment_bytes_max=1000) as ledger:
        await ledger.append([note(number, text="x" * 600) for number in range(3)])
        assert len(await records(ledger)) == 6
    assert (partition / "_CURRENT").read_text() == "signals-005.wal"


async def test_record_is_never_split(opened: Opener, place: Path) -> None:
    """
    A record larger than a segment may be still lies whole in one segment.
    """
    async with opened(segment_bytes_max=500) as ledger:
        await ledger.append([note(1, text="x" * 2000), note(2, text="y" * 2000)])
        assert [len(item.payload) > 2000 for item in await records(ledger)] == [True, True]
    assert len(list((place / DAY).glob("*.wal"))) == 2


async def test_partition_is_the_utc_day_of_emission(opened: Opener) -> None:
    """
    The UTC date of emitted_at names the partition, whatever offset it was written with.
    """
    evening_west = datetime(2026, 1, 27, 20, tzinfo=timezone(timedelta(hours=-8)))
    before_midnight = datetime(2026, 1, 27, 23, 59, 59, tzinfo=timezone.utc)  # noqa: UP017 - as a caller may write it.
    async with opened() as ledger:
        positions = await ledger.append([note(1, evening_west), note(2, before_midnight)])
    assert [position.partition for position in positions] == [DAY, "2026-01-27"]


async def test_naive_time_is_refused(opened: Opener) -> None:
    """
    A time without an offset is nobody's day.
    """
    async with opened() as ledger:
        with pytest.raises(NaiveTime):
            await ledger.append([note(1, NOON.replace(tzinfo=None))])
        assert ledger.durable_offset == 0


async def test_emitted_ahead_is_refused(opened: Opener) -> None:
    """
    Five minutes ahead of the clock is allowed, more is not, and the refused call appends nothing.
    """
    async with opened() as ledger:
        await ledger.append([note(1, NOON + timedelta(minutes=5))])
        with pytest.raises(EmittedAhead):
            await ledger.append([note(2), note(3, NOON + timedelta(minutes=5, seconds=1))])
        assert ledger.durable_offset == 1


async def test_too_many_open_partitions(opened: Opener) -> None:
    """
    One partition more than may be open is refused in words; those that are open go on.
    """
    async with opened(open_partitions_max=2) as ledger:
        await ledger.append([note(1), note(2, NOON - timedelta(days=1))])
        with pytest.raises(TooManyOpenPartitions) as refusal:
            await ledger.append([note(3, NOON - timedelta(days=2))])
        assert (refusal.value.open_partitions, refusal.value.open_partitions_max) == (2, 2)
        await ledger.append([note(4)])


async def test_record_too_large_costs_only_itself(opened: Opener) -> None:
    """
    A record beyond the frame's limit fails its call; what came with it in the same batch is appended.
    """
    async with opened() as ledger:
        small, large = await asyncio.gather(
            ledger.append([note(1)]), ledger.append([note(2, text="x" * (1 << 20))]), return_exceptions=True
        )
        assert isinstance(large, RecordTooLarge)
        assert isinstance(small, list)
        assert len(await records(ledger)) == 1


async def test_producer_that_fails_to_stamp_costs_only_itself(opened: Opener) -> None:
    """
    An exception from a producer's own code reaches that producer; the writer goes on.
    """

    class Broken:
        def stamp(self, position: Position) -> bytes:
            raise ZeroDivisionError(position.offset)

    async with opened() as ledger:
        with pytest.raises(LedgerWriteError) as failure:
            await ledger.append([Entry(NOON, Broken())])
        assert isinstance(failure.value.cause, ZeroDivisionError)
        await ledger.append([note(1)])
        assert ledger.durable_offset == 1


async def test_cancelled_caller_disturbs_nothing(opened: Opener) -> None:
    """
    A caller that goes away leaves its record appended, and everybody else untouched.
    """
    async with opened() as ledger:
        tasks = [asyncio.create_task(ledger.append([note(number)])) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await ledger.append([note(99)])
        ids = {NOTES.signal_id(item.payload) for item in await records(ledger)}
    assert ids >= {f"OMEN-{number:06d}" for number in range(1, 20, 2)} | {"OMEN-000099"}


async def test_order_of_a_producer_is_kept(opened: Opener) -> None:
    """
    What one producer appends one after the other is read in that order, beside 31 others.
    """
    async with opened(segment_records_max=50) as ledger:

        async def produce(producer: int) -> None:
            for number in range(20):
                await ledger.append([note(producer * 100 + number)])

        await asyncio.gather(*(produce(producer) for producer in range(32)))
        ids = [NOTES.signal_id(item.payload) for item in await records(ledger)]
    assert len(ids) == 640
    for producer in range(32):
        own = [name for name in ids if int(name[5:]) // 100 == producer]
        assert own == sorted(own)


async def test_one_sync_a_batch(opened: Opener) -> None:
    """
    A hundred records in one call cost one sync, and concurrent calls share theirs.
    """
    disk = CountingDisk()
    async with opened(disk) as ledger:
        await ledger.append([note(0)])
        before = disk.data_syncs
        await ledger.append([note(number) for number in range(100)])
        assert disk.data_syncs == before + 1
        before = disk.data_syncs
        await asyncio.gather(*(ledger.append([note(number)]) for number in range(500)))
        assert disk.data_syncs - before <= 50


async def test_one_sync_a_partition_of_a_batch(opened: Opener) -> None:
    """
    A call over three days costs three syncs, and each group states the ones before it as durable.
    """
    disk = CountingDisk()
    days = [NOON - timedelta(days=day) for day in range(3)]
    async with opened(disk) as ledger:
        await ledger.append([note(0, day) for day in days])
        before = disk.data_syncs
        positions = await ledger.append([note(number, days[number % 3]) for number in range(9)])
        assert disk.data_syncs == before + 3
    assert sorted({position.durable_offset for position in positions}) == [3, 6, 9]
    assert all(position.durable_offset < position.offset for position in positions)


async def test_more_than_a_batch_in_one_call(opened: Opener) -> None:
    """
    A call larger than a batch is split, and answered when all of it is durable.
    """
    disk = CountingDisk()
    async with opened(disk, batch_records_max=10) as ledger:
        positions = await ledger.append([note(number) for number in range(95)])
        assert [position.offset for position in positions] == list(range(1, 96))
        assert disk.data_syncs == 10


async def test_queue_is_bounded(opened: Opener) -> None:
    """
    Producers beyond the queue's limit wait for room and are all served.
    """
    async with opened(queue_records_max=4) as ledger:
        await asyncio.gather(*(ledger.append([note(number)]) for number in range(100)))
        assert ledger.durable_offset == 100


async def test_second_writer_is_refused(opened: Opener, place: Path) -> None:
    """
    A ledger that is being written tells a second writer who holds it.
    """
    async with opened():
        with pytest.raises(LedgerLocked) as refusal:
            async with open_ledger(place, NOTES):
                pass
        assert refusal.value.pid == os.getpid()
    async with opened():
        pass


async def test_foreign_directory_is_refused(place: Path) -> None:
    """
    A directory that holds something else is refused and left as it is; one with a lock and temporary files is founded.
    """
    place.mkdir()
    (place / "photographs").touch()
    with pytest.raises(NotALedger):
        async with open_ledger(place, NOTES):
            pass
    assert [file.name for file in place.iterdir()] == ["photographs"]
    (place / "photographs").rename(place / "_LEDGER.json.tmp")
    (place / "_LOCK").touch()
    async with open_ledger(place, NOTES) as ledger:
        assert ledger.identity.ledger_id
    assert (place / "_LEDGER.json").exists()


async def test_newer_format_is_refused(opened: Opener, place: Path) -> None:
    """
    A ledger of a format that this version does not know is not touched.
    """
    async with opened():
        pass
    identity = place / "_LEDGER.json"
    identity.write_text(identity.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(NotALedger, match="format 2"):
        async with opened():
            pass


async def test_identity_lasts(opened: Opener) -> None:
    """
    Id and epoch are the same after a restart.
    """
    async with opened() as ledger:
        first = ledger.identity
    async with opened() as ledger:
        assert ledger.identity == first


async def test_closed_ledger_takes_nothing(opened: Opener) -> None:
    """
    Closing appends what is queued; afterwards there is an error and no hanging, and closing twice is closing once.
    """
    async with opened() as ledger:
        queued = asyncio.create_task(ledger.append([note(1)]))
        await asyncio.sleep(0)
        await ledger.close()
        assert [position.offset for position in await queued] == [1]
        with pytest.raises(LedgerClosed):
            await ledger.append([note(2)])


async def test_append_of_nothing_is_nothing(opened: Opener) -> None:
    """
    An empty call has no positions and costs no sync.
    """
    async with opened() as ledger:
        assert await ledger.append([]) == []


async def test_written_at_follows_the_clock(opened: Opener, clock: Clock) -> None:
    """
    The ledger's own time is the injected clock's, to the microsecond.
    """
    clock.now = NOON + timedelta(microseconds=123456)
    async with opened() as ledger:
        [position] = await ledger.append([Entry(NOON, Note("OMEN-000001"))])
    assert position.written_at == 1769601600123456000

"""
What a running ledger gives its readers: batches in order, by offset, by position, behind the tail; and fingerprints.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from omen_server.ledger import live
from omen_server.ledger.errors import PartitionNotFound
from omen_server.ledger.segment import Record
from tests.crash.records import NOON, NOTES, note
from tests.omen_server.ledger.conftest import Opener, records

DAY = "2026-01-28"


async def test_wait_beyond_wakes_on_commit(opened: Opener) -> None:
    """
    Whoever waits for the tail to move is woken by the append and not by a clock.
    """
    async with opened() as ledger:
        waiter = asyncio.create_task(ledger.wait_beyond(0))
        await asyncio.sleep(0)
        assert not waiter.done()
        await ledger.append([note(1)])
        assert await waiter == 1
        assert await ledger.wait_beyond(0) == 1


async def test_follower_sees_every_record_once(opened: Opener) -> None:
    """
    A follower that reads, waits and reads again sees a running ledger in order, over days and rolls, nothing twice.
    """
    async with opened(segment_records_max=30) as ledger:

        async def follow() -> list[int]:
            seen: list[int] = []
            while len(seen) < 300:
                await ledger.wait_beyond(len(seen))
                seen += [item.position.offset for item in await records(ledger, len(seen))]
            return seen

        follower = asyncio.create_task(follow())
        for number in range(100):
            await ledger.append([note(number, NOON - timedelta(days=day)) for day in range(3)])
        assert await follower == list(range(1, 301))


async def test_read_merges_days_by_offset(opened: Opener) -> None:
    """
    Reading by offset merges partitions that were written alternately, from any offset to any other.
    """
    async with opened(segment_records_max=3) as ledger:
        for number in range(12):
            await ledger.append([note(number, NOON - timedelta(days=number % 3))])
        for after in range(13):
            for through in range(after, 13):
                found = [item async for batch in ledger.read(after, through or 12) for item in batch]
                assert [item.position.offset for item in found if isinstance(item, Record)] == list(
                    range(after + 1, (through or 12) + 1)
                )


async def test_read_partition_by_range_and_index(opened: Opener) -> None:
    """
    A partition is read from any position to any other, or at chosen ones.
    """
    async with opened(segment_records_max=7) as ledger:
        await ledger.append([note(number, text="x" * 900) for number in range(60)])

        async def indexes(after: int, through: int, wanted: tuple[int, ...] = ()) -> list[int]:
            batches = ledger.read_partition(DAY, after, through, wanted)
            return [item.position.index async for batch in batches for item in batch if isinstance(item, Record)]

        assert await indexes(0, 0) == list(range(1, 61))
        assert await indexes(20, 41) == list(range(21, 42))
        assert await indexes(0, 0, wanted=(1, 8, 9, 33, 60)) == [1, 8, 9, 33, 60]
        assert await indexes(0, 0, wanted=(61,)) == []
        with pytest.raises(PartitionNotFound):
            [batch async for batch in ledger.read_partition("2026-01-01")]
        with pytest.raises(PartitionNotFound):
            [batch async for batch in ledger.read_partition("../2026-01-28")]


async def test_batches_are_bounded(opened: Opener) -> None:
    """
    No batch holds more records or bytes than the settings say.
    """
    async with opened(read_batch_records_max=7, read_batch_bytes_max=5000) as ledger:
        await ledger.append([note(number, text="x" * (2000 if number < 10 else 0)) for number in range(40)])
        sizes = [len(batch) async for batch in ledger.read_partition(DAY)]
    assert max(sizes) == 7
    assert sizes[:3] == [3, 3, 3]


async def test_fingerprints_are_the_same_by_any_way(opened: Opener, place: Path) -> None:
    """
    A range's fingerprint is the XOR over its records, summed by blocks, cut at edges, kept or rebuilt.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(2500)])
        payloads = {item.position.index: item.payload for item in await records(ledger)}

        def xor(first: int, last: int) -> tuple[int, int, int]:
            high = low = 0
            for index in range(first, last + 1):
                halves = NOTES.position_hash(payloads[index])
                high, low = high ^ halves[0], low ^ halves[1]
            return last - first + 1, high, low

        for first, last in ((1, 2500), (1, 1024), (1025, 2048), (1000, 1030), (2400, 2500), (7, 7)):
            block = await ledger.fingerprint(DAY, first, last)
            assert (block.count, block.high, block.low) == xor(first, last)
        assert [block.count for block in await ledger.blocks(DAY)] == [1024, 1024, 452]
        whole = await ledger.fingerprint(DAY)
    assert (place / DAY / "_blocks").exists()
    async with opened() as ledger:
        assert await ledger.fingerprint(DAY) == whole
    (place / DAY / "_blocks").write_bytes(b"OMENBLK1 and then rubbish that fits nothing at all, but is long enough")
    async with opened() as ledger:
        assert await ledger.fingerprint(DAY) == whole
        await ledger.append([note(1)])
        assert (await ledger.fingerprint(DAY)).count == 2501


async def test_counts_of_days_nobody_asks_for_are_left_to_the_disk(
    opened: Opener, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of more days than may be held in memory the one asked for last stays there; the others lie in their sidecars, from
    which they say the same, also of what has come since.
    """
    monkeypatch.setattr(live, "COUNTED_RECORDS_MAX", 10)
    days = [NOON - timedelta(days=number) for number in range(3)]
    names = [day.date().isoformat() for day in days]
    async with opened() as ledger:
        for at, day in enumerate(days):
            await ledger.append([note(6 * at + number, day) for number in range(6)])
        found = [await ledger.fingerprint(name) for name in names]
        assert [(place / name / "_blocks").exists() for name in names] == [True, True, False]
        assert list(ledger._reader._fingerprints) == names[2:]  # What is in memory has no public name.
        assert [await ledger.fingerprint(name) for name in names] == found
        await ledger.append([note(0, days[0])])
        again = await ledger.partition(names[0])
        assert (again.total_records, again.distinct_signal_ids) == (7, 6)
        assert (await ledger.fingerprint(names[0], 1, 6)) == found[0]


async def test_partition_says_what_it_holds(opened: Opener) -> None:
    """
    Counts are of frames, distinct ones of signals, and the last sequence is a sequence.
    """
    async with opened(segment_records_max=2) as ledger:
        await ledger.append([note(1), note(2), note(1)])
        info = await ledger.partition(DAY)
        assert (info.total_records, info.distinct_signal_ids, info.last_sequence) == (3, 2, 2 << 32 | 1)
        assert (info.is_sealed, info.is_late, info.state) == (False, False, "OPEN")
        assert [segment.file for segment in info.segments] == ["signals-001.wal", "signals-002.wal"]
        assert [info.partition for info in await ledger.partitions()] == [DAY]

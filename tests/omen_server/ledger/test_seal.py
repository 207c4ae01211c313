"""
Closing days: when, how, and what happens to what comes afterwards.
"""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest

from omen_server.ledger import audit
from omen_server.ledger.durable import Disk
from omen_server.ledger.errors import LedgerFull, PartitionDayNotOver, PartitionEmpty, PartitionNotFound
from omen_server.ledger.format import encode_frame
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.seal import is_due
from omen_server.ledger.segment import Record
from omen_server.ledger.settings import LedgerSettings
from tests.crash.records import NOON, NOTES, note
from tests.omen_server.ledger.conftest import Clock, Opener

DAY = "2026-01-28"
LATE = "2026-01-28-late"
MORNING_AFTER = datetime(2026, 1, 29, 6, 30, tzinfo=UTC)


async def verdict(ledger: Ledger, name: str) -> audit.Verdict:
    """
    Return what verify says of a partition.
    """
    items = [item async for item in ledger.verify(name)]
    assert isinstance(items[-1], audit.Verdict)
    return items[-1]


async def test_manifest_has_the_seeds_keys(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A sealed partition's manifest has the seeds' keys and values, and more beside them.
    """
    async with opened(segment_records_max=6) as ledger:
        await ledger.append([note(number) for number in range(10)])
        clock.now = MORNING_AFTER
        info, already = await ledger.seal(DAY)
        assert not already
    manifest = json.loads((place / DAY / "_manifest.json").read_text())
    assert manifest["schema_version"] == "1.0.0"
    assert manifest["partition_date"] == DAY
    assert manifest["sealed_at"] == "2026-01-29T06:30:00Z"
    assert manifest["total_records"] == manifest["highwater_sequence"] == 10
    assert manifest["manifest_revision"] == 1
    assert manifest["is_late_partition"] is False
    assert [segment["record_count"] for segment in manifest["segments"]] == [6, 4]
    for segment in manifest["segments"]:
        data = (place / DAY / segment["file"]).read_bytes()
        assert segment["size_bytes"] == len(data)
        assert segment["checksum"] == f"crc32:{crc32(data):08x}"
        assert segment["sha256"] == sha256(data).hexdigest()
    assert manifest["last_ledger_sequence"] == 2 << 32 | 4
    assert (manifest["first_offset"], manifest["last_offset"], manifest["gaps"]) == (1, 10, [])
    assert manifest["merkle_root"] == info.merkle_root
    assert sha256((place / DAY / "_manifest.json").read_bytes()).hexdigest() in (place / DAY / "_SEALED").read_text()
    assert info.state == "SEALED"


async def test_seal_changes_nothing_twice(opened: Opener, place: Path, clock: Clock) -> None:
    """
    Sealing again changes no byte and says that it was done before.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
        before = {path: path.read_bytes() for path in (place / DAY).iterdir()}
        info, already = await ledger.seal(DAY)
        assert already
        assert info.manifest_revision == 1
        assert {path: path.read_bytes() for path in (place / DAY).iterdir()} == before


async def test_seal_refusals(opened: Opener, place: Path) -> None:
    """
    A day in progress is sealed by force only; an empty or unknown partition is not sealed at all.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        with pytest.raises(PartitionDayNotOver):
            await ledger.seal(DAY)
        assert (await ledger.seal(DAY, force=True))[0].is_sealed
        with pytest.raises(PartitionNotFound):
            await ledger.seal("2026-01-01")
    (place / "2026-01-27").mkdir()
    async with opened() as ledger:
        with pytest.raises(PartitionEmpty):
            await ledger.seal("2026-01-27")


async def test_late_arrival_leaves_the_sealed_day_alone(opened: Opener, place: Path, clock: Clock) -> None:
    """
    What comes for a sealed day goes to its late partition, and no byte of the day changes.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
        before = {path: path.read_bytes() for path in (place / DAY).iterdir()}
        [position] = await ledger.append([note(8, datetime(2026, 1, 28, 23, 59, 58, tzinfo=UTC))])
        assert (position.partition, position.index, position.offset) == (LATE, 1, 2)
        assert {path: path.read_bytes() for path in (place / DAY).iterdir()} == before
        found = [item async for batch in ledger.read_partition(DAY, include_late=True) for item in batch]
        assert [item.position.partition for item in found if isinstance(item, Record)] == [DAY, LATE]
        info = await ledger.partition(LATE)
        assert (info.is_late, info.is_sealed, info.partition_date) == (True, False, DAY)


async def test_literal_seed_timestamps_are_the_next_day(opened: Opener, clock: Clock) -> None:
    """
    The seeds' event of 02:00 on the 29th belongs to the 29th, by the rule.
    """
    clock.now = MORNING_AFTER
    async with opened() as ledger:
        [position] = await ledger.append([note(8, datetime(2026, 1, 29, 2, tzinfo=UTC))])
    assert position.partition == "2026-01-29"


async def test_sealed_late_partition_takes_more_in_a_new_revision(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A sealed late partition takes further arrivals in a new segment; the next seal is revision 2 and extends the first.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
        await ledger.append([note(2), note(3)])
        first, _ = await ledger.seal(LATE)
        [position] = await ledger.append([note(4)])
        assert position.sequence == 2 << 32 | 1
        assert position.index == 3
        assert not (await ledger.partition(LATE)).is_sealed
    async with opened() as ledger:
        await ledger.append([note(5)])
        second, already = await ledger.seal(LATE)
        assert not already
        assert (second.manifest_revision, second.total_records, second.sealed_at) == (2, 4, "2026-01-29T06:30:00Z")
        assert first.merkle_root != second.merkle_root
        assert (await verdict(ledger, LATE)).intact
        assert (await verdict(ledger, DAY)).intact
    kept = json.loads((place / LATE / "_manifest-001.json").read_text())
    assert kept["merkle_root"] == first.merkle_root
    assert (place / LATE / "_manifest-002.json").read_bytes() == (place / LATE / "_manifest.json").read_bytes()


async def test_manifest_without_its_seal_is_nobodys_word(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A manifest that a crash left without `_SEALED` is not trusted, and the next start finishes the seal.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
    (place / DAY / "_SEALED").unlink()
    assert not OfflineLedger(place, NOTES).partition(DAY).is_sealed
    async with opened() as ledger:
        assert (await ledger.partition(DAY)).is_sealed
        assert (await verdict(ledger, DAY)).intact


async def test_manifest_that_does_not_fit_is_not_sealed(opened: Opener, place: Path, clock: Clock) -> None:
    """
    An unfinished manifest whose segment has changed since is left alone, and the day stays open.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
    (place / DAY / "_SEALED").unlink()
    segment = place / DAY / "signals-001.wal"
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-3])
    async with opened() as ledger:
        assert not (await ledger.partition(DAY)).is_sealed


async def test_arrivals_while_sealing_go_late(opened: Opener, clock: Clock) -> None:
    """
    A seal and appends for its day at the same time: every record is in the sealed day or the late one, never lost.
    """
    async with opened() as ledger:
        await ledger.append([note(0)])
        clock.now = MORNING_AFTER
        sealing = asyncio.create_task(ledger.seal(DAY))
        positions = [await ledger.append([note(number, NOON)]) for number in range(1, 60)]
        info, _ = await sealing
        partitions = [position.partition for [position] in positions]
        assert partitions == sorted(partitions)
        assert info.total_records == 1 + partitions.count(DAY)
        assert (await verdict(ledger, DAY)).intact


async def test_seal_that_finds_no_room_is_tried_again(opened: Opener, clock: Clock) -> None:
    """
    A seal that fails on a full disk leaves the day open; with space back it is sealed, whatever arrived in between.
    """

    class FullDisk(Disk):
        full = False

        def rename(self, source: str, target: str) -> None:
            if self.full:
                raise OSError(28, "Full")
            super().rename(source, target)

    disk = FullDisk()
    async with opened(disk) as ledger:
        await ledger.append([note(1)])
        clock.now = MORNING_AFTER
        disk.full = True
        with pytest.raises(LedgerFull):
            await ledger.seal(DAY)
        disk.full = False
        [position] = await ledger.append([note(2)])
        assert position.partition == DAY
        info, _ = await ledger.seal(DAY)
        assert info.total_records == 2


@pytest.mark.parametrize(
    ("partition", "last_append", "due"),
    [
        (DAY, NOON, datetime(2026, 1, 29, 4, tzinfo=UTC)),
        (DAY, datetime(2026, 1, 29, 1, tzinfo=UTC), datetime(2026, 1, 29, 5, tzinfo=UTC)),
        (LATE, datetime(2026, 1, 30, 6, tzinfo=UTC), datetime(2026, 2, 2, 6, tzinfo=UTC)),
    ],
)
def test_seal_is_due_after_its_grace(partition: str, last_append: datetime, due: datetime) -> None:
    """
    Four hours after the later of the day's end and its last append, three days for a late one, and not a second before.
    """
    written_at = int(last_append.timestamp() * 1e9)
    assert not is_due(partition, written_at, due - timedelta(seconds=1), LedgerSettings())
    assert is_due(partition, written_at, due, LedgerSettings())


async def test_seal_due_seals_what_is_due(opened: Opener, clock: Clock) -> None:
    """
    The periodic seal closes what has been quiet for long enough and leaves today open, also after a restart.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2, NOON - timedelta(days=1))])
        assert await ledger.seal_due() == []
        clock.now = NOON + timedelta(hours=4)
        assert await ledger.seal_due() == ["2026-01-27"]
        assert await ledger.seal_due() == []
    clock.now = datetime(2026, 1, 29, 4, tzinfo=UTC)
    async with opened() as ledger:
        assert await ledger.seal_due() == [DAY]


async def test_seals_are_chained(opened: Opener, place: Path) -> None:
    """
    Each manifest names the hash of the one sealed before it; one that is taken away is missed.
    """
    days = [NOON - timedelta(days=day) for day in (3, 2, 1)]
    async with opened() as ledger:
        for number, day in enumerate(days):
            await ledger.append([note(number, day)])
            await ledger.seal(day.date().isoformat())
        for day in days:
            assert (await verdict(ledger, day.date().isoformat())).intact
    first, middle, last = (day.date().isoformat() for day in days)
    manifest = place / middle / "_manifest-001.json"
    before = manifest.read_bytes()
    manifest.write_bytes(before.replace(b'"valid_records": 1', b'"valid_records": 2'))
    found = list(OfflineLedger(place, NOTES).verify(last))[-1]
    assert isinstance(found, audit.Verdict)
    assert [fault.kind for fault in found.faults] == ["chain"]
    manifest.write_bytes(before)
    (place / first / "_SEALED").unlink()
    found = list(OfflineLedger(place, NOTES).verify(middle))[-1]
    assert isinstance(found, audit.Verdict)
    assert "is gone" in found.faults[0].reason


async def test_verify_says_what_it_does_not_prove(opened: Opener, clock: Clock) -> None:
    """
    A pass is honest about its limits, and progress comes before the verdict.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(20)])
        clock.now = MORNING_AFTER
        await ledger.seal(DAY)
        items = [item async for item in ledger.verify(DAY)]
    assert isinstance(items[0], audit.Progress)
    assert items[0].records_done == 20
    assert isinstance(items[-1], audit.Verdict)
    assert any("whole day was deleted" in sentence for sentence in items[-1].not_proven)


async def test_readers_stop_at_the_watermark(opened: Opener, place: Path) -> None:
    """
    Inside the server nothing is read that is not durable, though the bytes are in the file already.
    """
    async with opened() as ledger:
        [_, last] = await ledger.append([note(1), note(2)])
        in_flight = replace(last, sequence=last.sequence + 1, index=3, offset=3)
        with (place / DAY / "signals-001.wal").open("ab") as file:
            file.write(encode_frame(note(3).record.stamp(in_flight)))
        found = [item async for batch in ledger.read_partition(DAY) for item in batch]
        assert [item.position.index for item in found if isinstance(item, Record)] == [1, 2]
        [outside] = [item for item in OfflineLedger(place, NOTES).read(2) if isinstance(item, Record)]
        assert outside.unproven


async def test_roll_that_failed_is_sealed_with_its_day(opened: Opener, place: Path, clock: Clock) -> None:
    """
    An empty segment that a roll on a full disk left behind does not keep its day from being sealed.
    """

    class FullDisk(Disk):
        full = False

        def rename(self, source: str, target: str) -> None:
            if self.full:
                raise OSError(28, "Full")
            super().rename(source, target)

    disk = FullDisk()
    async with opened(disk, segment_records_max=1) as ledger:
        await ledger.append([note(1)])
        disk.full = True
        with pytest.raises(LedgerFull):
            await ledger.append([note(2)])
        disk.full = False
        assert (place / DAY / "signals-002.wal").exists()
        clock.now = MORNING_AFTER
        info, _ = await ledger.seal(DAY)
        assert info.is_sealed
        assert (await verdict(ledger, DAY)).intact
    async with opened() as ledger:
        assert (await ledger.append([note(3)]))[0].partition == LATE

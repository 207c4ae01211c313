"""
Growing old, and the copy on another disk.
"""
# ruff: noqa: ASYNC240 - a test may look at its files while nothing else runs.

import gzip
import json
from datetime import timedelta
from pathlib import Path

import pytest

from omen_server.ledger import audit
from omen_server.ledger.backup import restore
from omen_server.ledger.directory import open_ledger, utc_now
from omen_server.ledger.durable import Disk
from omen_server.ledger.errors import NotALedger, PartitionNotFound
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record
from tests.crash.records import NOON, NOTES, note
from tests.omen_server.ledger.conftest import Clock, Opener

DAY = "2026-01-28"


async def payloads(ledger: Ledger) -> list[bytes]:
    """
    Return the payloads of all records, in the order of offsets.
    """
    return [item.payload async for batch in ledger.read() for item in batch if isinstance(item, Record)]


async def sealed_ledger(ledger: Ledger, clock: Clock) -> None:
    """
    Fill a day over three segments and seal it.
    """
    await ledger.append([note(number, text="x" * 500) for number in range(10)])
    clock.now = NOON + timedelta(days=1)
    await ledger.seal(DAY)


async def test_tiers(opened: Opener, place: Path, clock: Clock) -> None:
    """
    Seven days after the seal segments are compressed, after thirty archived; the records stay the same to the byte.
    """
    async with opened(segment_records_max=4) as ledger:
        await sealed_ledger(ledger, clock)
        before = await payloads(ledger)
        clock.now += timedelta(days=7) - timedelta(seconds=1)
        assert await ledger.run_lifecycle(dry_run=False) == []
        clock.now += timedelta(seconds=1)
        [step] = await ledger.run_lifecycle(dry_run=False)
        assert (step.partition, step.action, step.bytes_after < step.bytes_before) == (DAY, "COMPRESS", True)
        assert await ledger.run_lifecycle(dry_run=False) == []
        assert sorted(path.name for path in (place / DAY).glob("signals*")) == [
            f"signals-00{ordinal}.wal.gz" for ordinal in (1, 2, 3)
        ]
        assert await payloads(ledger) == before
        assert (await ledger.partition(DAY)).state == "WARM"
        clock.now += timedelta(days=23)
        [step] = await ledger.run_lifecycle(dry_run=False)
        assert step.action == "ARCHIVE"
        assert not (place / DAY).exists()
        assert (await ledger.partition(DAY)).state == "ARCHIVED"
        assert await payloads(ledger) == before
        items = [item async for item in ledger.verify(DAY)]
        assert isinstance(items[-1], audit.Verdict)
        assert items[-1].intact
    async with opened() as ledger:
        assert await payloads(ledger) == before
        assert [info.partition for info in await ledger.partitions()] == [DAY]


async def test_dry_run_changes_nothing(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A dry run names the steps and leaves every file as it was.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        clock.now += timedelta(days=3000)
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        steps = await ledger.run_lifecycle(dry_run=True)
        assert [step.action for step in steps] == ["COMPRESS", "ARCHIVE", "KEEP"]
        assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


async def test_deletion_needs_seven_years_and_a_proof(opened: Opener, place: Path, clock: Clock) -> None:
    """
    Only what is past retention and reconciled goes, behind a tombstone; its numbers are never given away again.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        clock.now += timedelta(days=2557)
        assert [step.action for step in await ledger.run_lifecycle(dry_run=False)] == ["COMPRESS", "ARCHIVE", "KEEP"]
        assert await ledger.confirm_reconciled(DAY, 9) == 9
        [step] = await ledger.run_lifecycle(dry_run=False)
        assert step.action == "KEEP"
        assert await ledger.confirm_reconciled(DAY, 4) == 9
        assert await ledger.confirm_reconciled(DAY, 99) == 10
        [step] = await ledger.run_lifecycle(dry_run=False)
        assert (step.action, step.bytes_after) == ("DELETE", 0)
        assert (await ledger.partition(DAY)).state == "DELETED"
    assert json.loads((place / "_archive" / DAY / "_tombstone.json").read_text())["last_offset"] == 10
    async with opened() as ledger:
        assert ledger.durable_offset == 10
        [position] = await ledger.append([note(99, clock.now)])
        assert position.offset == 11


async def test_tear_behind_a_deleted_day_is_a_tear(opened: Opener, place: Path, clock: Clock) -> None:
    """
    Offsets that went with a deleted day prove nothing of a later day's torn tail: it is cut, and nothing is skipped.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        await ledger.confirm_reconciled(DAY, 10)
        clock.now += timedelta(days=2557)
        await ledger.run_lifecycle(dry_run=False)
        assert (await ledger.partition(DAY)).state == "DELETED"
        await ledger.append([note(98, clock.now - timedelta(days=1))])
        [position] = await ledger.append([note(99, clock.now)])
    segment = place / position.partition / "signals-001.wal"
    segment.write_bytes(segment.read_bytes()[:-9])
    async with opened() as ledger:
        assert ledger.durable_offset == 11
        assert await ledger.gaps(position.partition) == []
        assert (await ledger.append([note(99, clock.now)]))[0].offset == 12
    assert (place / "_quarantine").exists()


async def test_positions_go_on_behind_a_deleted_late_partition(opened: Opener, place: Path, clock: Clock) -> None:
    """
    What comes even later than a late partition's deletion has positions of its own, a crash before the first or not.
    """
    late = DAY + "-late"
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        await ledger.append([note(50), note(51)])
        await ledger.seal(late)
        await ledger.confirm_reconciled(late, 2)
        clock.now += timedelta(days=2557)
        await ledger.run_lifecycle(dry_run=False)
        assert (await ledger.partition(late)).state == "DELETED"
        await ledger.append([note(60, clock.now), note(61)])
    segment = place / late / "signals-002.wal"
    segment.write_bytes(segment.read_bytes()[:-9])
    async with opened() as ledger:
        [position] = await ledger.append([note(61)])
        assert (position.index, position.sequence, position.offset) == (3, 2 << 32 | 1, 14)


async def test_deleted_day_is_one_gap_with_its_name(opened: Opener, clock: Clock) -> None:
    """
    Where a deleted day's records lay between another's, reading says of every hole whose it is.
    """
    other = NOON - timedelta(days=1)
    async with opened() as ledger:
        await ledger.append([note(1)])
        await ledger.append([note(number, other) for number in range(20, 35)])
        await sealed_ledger(ledger, clock)
        await ledger.confirm_reconciled(DAY, 11)
        clock.now += timedelta(days=2557)
        await ledger.run_lifecycle(dry_run=False)
        items = [item async for batch in ledger.read() for item in batch]
        assert [
            (item.partition, item.first_offset, item.last_offset, item.reason)
            for item in items
            if isinstance(item, Gap)
        ] == [(DAY, 1, 1, "Deleted after its retention"), (DAY, 17, 26, "Deleted after its retention")]


async def test_unsealed_is_never_touched(opened: Opener, clock: Clock) -> None:
    """
    An open partition stays as it is, however old.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        clock.now += timedelta(days=5000)
        assert await ledger.run_lifecycle(dry_run=False) == []


async def test_changed_segment_is_not_compressed(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A segment that is not what was sealed stays in the form in which it can be looked at.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        segment = place / DAY / "signals-001.wal"
        segment.chmod(0o600)
        segment.write_bytes(segment.read_bytes()[:-1] + b"?")
        clock.now += timedelta(days=8)
        [step] = await ledger.run_lifecycle(dry_run=False)
        assert step.action == "KEEP"
        assert segment.exists()


async def test_crash_while_compressing_leaves_both_forms(opened: Opener, place: Path, clock: Clock) -> None:
    """
    Where a crash left a segment in both forms the original counts, and the next run finishes.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        before = await payloads(ledger)
    segment = place / DAY / "signals-001.wal"
    segment.with_name("signals-001.wal.gz").write_bytes(gzip.compress(segment.read_bytes())[:-20])
    clock.now += timedelta(days=8)
    async with opened() as ledger:
        assert await payloads(ledger) == before
        await ledger.run_lifecycle(dry_run=False)
        assert not segment.exists()
        assert await payloads(ledger) == before


async def test_late_arrival_for_an_archived_day(opened: Opener, place: Path, clock: Clock) -> None:
    """
    A late partition that was archived is fetched back for a further arrival: nothing is refused for being late.
    """
    async with opened() as ledger:
        await sealed_ledger(ledger, clock)
        await ledger.append([note(50, NOON)])
        await ledger.seal(DAY + "-late")
        clock.now += timedelta(days=40)
        await ledger.run_lifecycle(dry_run=False)
        assert (place / "_archive" / f"{DAY}-late").exists()
        [position] = await ledger.append([note(51, NOON)])
        assert (position.partition, position.index, position.sequence >> 32) == (DAY + "-late", 2, 2)
        assert (place / f"{DAY}-late").exists()
        assert len(await payloads(ledger)) == 12


async def test_backup_of_a_live_ledger(opened: Opener, place: Path, tmp_path: Path, clock: Clock) -> None:
    """
    A backup taken of a running ledger holds everything acknowledged before it; restored, it is a new epoch.
    """
    async with opened(segment_records_max=7) as ledger:
        await sealed_ledger(ledger, clock)
        before = [await ledger.append([note(number, clock.now)]) for number in range(20)]
        copied = await ledger.back_up(tmp_path / "copy")
        await ledger.append([note(99, clock.now)])
        assert copied.through_offset >= before[-1][-1].offset
        expected = (await payloads(ledger))[: copied.through_offset]
        identity = ledger.identity
    found = [item.payload for item in OfflineLedger(tmp_path / "copy", NOTES).read() if isinstance(item, Record)]
    assert found == expected
    restored = restore(Disk(), str(tmp_path / "copy"), str(tmp_path / "restored"), utc_now)
    assert restored.through_offset == copied.through_offset
    async with open_ledger(tmp_path / "restored", NOTES, now=clock) as ledger:
        assert await payloads(ledger) == expected
        assert ledger.identity.ledger_id == identity.ledger_id
        assert ledger.identity.ledger_epoch != identity.ledger_epoch
        items = [item async for item in ledger.verify(DAY)]
        assert isinstance(items[-1], audit.Verdict)
        assert items[-1].intact
        assert (await ledger.append([note(7, clock.now)]))[0].offset == copied.through_offset + 1
    assert place.exists()


async def test_backup_leaves_a_torn_tail_behind(opened: Opener, place: Path, tmp_path: Path) -> None:
    """
    What was never whole is not copied.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        with (place / DAY / "signals-001.wal").open("ab") as file:
            file.write(b"\0\0\1")
        await ledger.back_up(tmp_path / "copy")
    assert list(OfflineLedger(tmp_path / "copy", NOTES).verify(DAY))[-1].intact  # type: ignore[union-attr]
    assert (tmp_path / "copy" / DAY / "signals-001.wal").stat().st_size < (
        place / DAY / "signals-001.wal"
    ).stat().st_size


async def test_backup_and_restore_begin_in_an_empty_place(opened: Opener, place: Path, tmp_path: Path) -> None:
    """
    Neither writes into a directory that holds anything, and an unfinished backup is not restored.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        (tmp_path / "used").mkdir()
        (tmp_path / "used" / "file").touch()
        with pytest.raises(NotALedger):
            await ledger.back_up(tmp_path / "used")
        await ledger.back_up(tmp_path / "copy")
    with pytest.raises(NotALedger):
        restore(Disk(), str(tmp_path / "copy"), str(place), utc_now)
    (tmp_path / "copy" / "_BACKUP.json").unlink()
    with pytest.raises(NotALedger, match="not whole"):
        restore(Disk(), str(tmp_path / "copy"), str(tmp_path / "restored"), utc_now)


async def test_offline_reading_of_a_closed_ledger(opened: Opener, place: Path) -> None:
    """
    Without a server everything is read, named and verified from the directory alone.
    """
    async with opened() as ledger:
        positions = await ledger.append([note(number) for number in range(5)])
        more = await ledger.append([note(9)])
    offline = OfflineLedger(place, NOTES)
    assert offline.names() == [DAY]
    assert not offline.is_live()
    items = list(offline.read_partition(DAY, 2))
    assert [item.position for item in items if isinstance(item, Record)] == [*positions[2:], *more]
    assert [item.unproven for item in items if isinstance(item, Record)] == [False, False, False, True]
    info = offline.partition(DAY)
    assert (info.total_records, info.distinct_signal_ids, info.is_sealed) == (6, 6, False)
    assert [frame.index for frame in offline.frames(DAY, 3, 2)] == [4, 5]
    assert all(frame.checksum_matches for frame in offline.frames(DAY, 0, 100))
    with pytest.raises(PartitionNotFound):
        offline.partition("2026-01-01")
    with pytest.raises(NotALedger):
        OfflineLedger(place / DAY, NOTES)


async def test_a_backup_is_not_written_to(opened: Opener, tmp_path: Path, clock: Clock) -> None:
    """
    A server does not open a backup where it lies: it would go on in the epoch of the ledger it was copied from.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        await ledger.back_up(tmp_path / "copy")
    files = {path.name for path in (tmp_path / "copy").iterdir()}
    with pytest.raises(NotALedger, match="restore"):
        async with open_ledger(tmp_path / "copy", NOTES, now=clock):
            pass
    assert {path.name for path in (tmp_path / "copy").iterdir()} == files

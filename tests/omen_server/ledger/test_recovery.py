"""
Starting again on what a crash, a disk or a person left behind.
"""
# ruff: noqa: ASYNC240 - a test may look at its files while nothing else runs.

import json
import logging
import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from omen_rpc.position import Position
from omen_server.ledger.format import HEADER_BYTES
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record
from tests.crash.records import NOON, NOTES, note
from tests.omen_server.ledger.conftest import Opener

DAY = "2026-01-28"
FIRST = "signals-001.wal"


async def everything(ledger: Ledger) -> list[Record | Gap]:
    """
    Return all there is, in the order of offsets.
    """
    return [item async for batch in ledger.read() for item in batch]


def starts(data: bytes) -> list[int]:
    """
    Return where the frames of an undamaged segment start.
    """
    found, at = [], 0
    while at < len(data):
        found.append(at)
        at += HEADER_BYTES + int.from_bytes(data[at : at + 4], "big")
    return found


async def test_ledger_crash_tail_returns_n_minus_1_valid_records(
    opened: Opener, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Three records, the last one torn: two are read, and the log says so in the words of the runbook.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(3)])
    segment = place / DAY / FIRST
    segment.write_bytes(segment.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        async with opened() as ledger:
            assert [NOTES.signal_id(item.payload) for item in await everything(ledger) if isinstance(item, Record)] == [
                "OMEN-000000",
                "OMEN-000001",
            ]
    assert "Partial payload" in caplog.text
    assert "truncating" in caplog.text


@pytest.mark.parametrize("left", ["1 byte", "the header less 1", "the header", "the payload less 1"])
async def test_torn_tail_then_three_more(opened: Opener, place: Path, left: str) -> None:
    """
    Three records, the last one torn, restart, three more: five are read, and the torn bytes lie in quarantine.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(3)])
    segment = place / DAY / FIRST
    data = segment.read_bytes()
    last = starts(data)[-1]
    cut = {
        "1 byte": last + 1,
        "the header less 1": last + 7,
        "the header": last + 8,
        "the payload less 1": len(data) - 1,
    }
    torn = data[last : cut[left]]
    segment.write_bytes(data[: cut[left]])
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(3, 6)])
    async with opened() as ledger:
        found = await everything(ledger)
    assert [NOTES.signal_id(item.payload) for item in found if isinstance(item, Record)] == [
        f"OMEN-{number:06d}" for number in (0, 1, 3, 4, 5)
    ]
    assert [item.position.offset for item in found if isinstance(item, Record)] == [1, 2, 3, 4, 5]
    kept = place / "_quarantine" / f"{DAY}-{FIRST}-{last}"
    assert kept.with_name(kept.name + ".bytes").read_bytes() == torn
    assert json.loads(kept.with_name(kept.name + ".json").read_text())["byte_offset"] == last


def zero_from(data: bytes, at: int) -> bytes:
    """
    Return a file whose size arrived before its last data did.
    """
    return data[:at] + bytes(len(data) - at)


def lose_sector(data: bytes, at: int) -> bytes:
    """
    Return a file in which one whole sector behind *at* never arrived.
    """
    sector = (at // 512 + 1) * 512
    return data[:sector] + bytes(512) + data[sector + 512 :]


DAMAGE: list[tuple[str, Callable[[bytes, list[int]], bytes], set[int], bool]] = [
    # What is done to twelve frames in batches of six, which of them may be lost, and whether that leaves a gap.
    ("one bit of a length in the middle", lambda data, at: flip(data, at[3] + 3, 0), {4}, True),
    ("one bit of the last length", lambda data, at: flip(data, at[11] + 2, 1), {12}, True),
    ("one bit of a checksum", lambda data, at: flip(data, at[8] + 5, 3), {9}, True),
    ("one bit of the first payload", lambda data, at: flip(data, at[0] + 20, 1), {1}, True),
    ("the last batch lost to zeros", lambda data, at: zero_from(data, at[6]), {7, 8, 9, 10, 11, 12}, False),
    ("a sector of the last batch lost", lambda data, at: lose_sector(data, at[8]), {9, 10, 11, 12}, False),
    ("a sector of the first batch lost", lambda data, at: lose_sector(data, at[2]), {3, 4, 5}, True),
    ("a frame gone from the middle", lambda data, at: data[: at[4]] + data[at[5] :], {5}, True),
    ("a frame there twice", lambda data, at: data[: at[5]] + data[at[4] :], set(), False),
    ("rubbish behind the end", lambda data, _: data + b"rubbish that never was a frame", set(), True),
]


def flip(data: bytes, at: int, bit: int) -> bytes:
    """
    Return *data* with one bit changed.
    """
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.parametrize(("done", "lost", "gap"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
async def test_damage_table(
    opened: Opener, place: Path, done: Callable[[bytes, list[int]], bytes], lost: set[int], gap: bool
) -> None:
    """
    Each kind of damage costs what it hit and no more, by name where it was acknowledged, and the ledger goes on.
    """
    async with opened() as ledger:
        await ledger.append([note(number, text="x" * 150) for number in range(6)])
        await ledger.append([note(number, text="x" * 150) for number in range(6, 12)])
        before = {item.position.offset: item.payload for item in await everything(ledger) if isinstance(item, Record)}
    segment = place / DAY / FIRST
    data = segment.read_bytes()
    segment.write_bytes(done(data, starts(data)))
    for _ in range(2):
        async with opened() as ledger:
            [position] = await ledger.append([note(50)])
            found = await everything(ledger)
            readable = {item.position.offset: item.payload for item in found if isinstance(item, Record)}
            gaps = [item for item in found if isinstance(item, Gap)]
            assert set(before) - {offset for offset in before if readable.get(offset) == before[offset]} <= lost
            assert bool(gaps) == gap
            if gap:
                named = {offset for item in gaps for offset in range(item.first_offset, item.last_offset + 1)}
                assert lost <= named
                assert position.offset > 12
            assert sorted(
                {*readable, *(offset for item in gaps for offset in range(item.first_offset, item.last_offset + 1))}
            ) == list(range(1, position.offset + 1))


async def test_damage_at_the_end_skips_positions_once(opened: Opener, place: Path) -> None:
    """
    Where damage hides how many records there were, 1,024 positions are skipped in a new segment, and only once.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(3)])
    segment = place / DAY / FIRST
    data = segment.read_bytes()
    segment.write_bytes(flip(data, len(data) - 5, 1))
    for _ in range(3):
        async with opened() as ledger:
            assert ledger.durable_offset == 3 - 1 + 1024
    async with opened() as ledger:
        [position] = await ledger.append([note(9)])
        assert position == Position(DAY, 2 << 32 | 1, 1027, 1027, 1026, position.written_at)
        gaps = await ledger.gaps(DAY)
        assert [(gap.first_index, gap.last_index, gap.first_offset, gap.last_offset) for gap in gaps] == [
            (3, 1026, 3, 1026)
        ]
        assert gaps[0].file == FIRST
        assert gaps[0].byte_offset == starts(data)[-1]
        info = await ledger.partition(DAY)
        assert (info.total_records, info.last_index) == (3, 1027)


async def test_two_torn_tails_are_corruption(opened: Opener, place: Path) -> None:
    """
    A crash tears one tail at most: where two look torn, neither is cut and both lose by name.
    """
    other = "2026-01-27"
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        await ledger.append([note(3, NOON - timedelta(days=1)), note(4, NOON - timedelta(days=1))])
    for day in (DAY, other):
        segment = place / day / FIRST
        segment.write_bytes(segment.read_bytes()[:-5])
    async with opened() as ledger:
        assert not (place / "_quarantine").exists()
        assert [gap.skipped for gap in await ledger.gaps(DAY)] == [True]
        assert [gap.skipped for gap in await ledger.gaps(other)] == [True]


async def test_tail_that_a_later_record_proves_is_not_cut(opened: Opener, place: Path) -> None:
    """
    A short file is no torn tail when another partition holds a record that was written after its end was durable.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        await ledger.append([note(3, NOON - timedelta(days=1))])
    segment = place / DAY / FIRST
    segment.write_bytes(segment.read_bytes()[:-5])
    async with opened() as ledger:
        assert not (place / "_quarantine").exists()
        [gap] = await ledger.gaps(DAY)
        assert gap.first_index == 2


async def test_tail_that_a_later_seal_proves_is_not_cut(opened: Opener, place: Path) -> None:
    """
    The later record may be sealed: then the manifest is enough, and its segments are not even read.
    """
    other = NOON - timedelta(days=1)
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        await ledger.append([note(3, other), note(4, other)])
        await ledger.seal(other.date().isoformat())
    segment = place / DAY / FIRST
    segment.write_bytes(segment.read_bytes()[:-5])
    (place / other.date().isoformat() / FIRST).unlink()
    async with opened() as ledger:
        assert not (place / "_quarantine").exists()
        [gap] = await ledger.gaps(DAY)
        assert gap.first_index == 2


async def test_recovery_moves_the_tail_to_a_fresh_file(opened: Opener, place: Path) -> None:
    """
    Every start rewrites the open segments, since nobody remembers a failed sync across a restart.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
    before = (place / DAY / FIRST).stat().st_ino
    async with opened() as ledger:
        assert (place / DAY / FIRST).stat().st_ino != before
        assert len(await everything(ledger)) == 1


async def test_current_is_repaired(opened: Opener, place: Path) -> None:
    """
    `_CURRENT` names the newest segment again after a crash between the segment and its mark.
    """
    async with opened(segment_records_max=1) as ledger:
        await ledger.append([note(1), note(2)])
    (place / DAY / "_CURRENT").write_text(FIRST)
    async with opened():
        assert (place / DAY / "_CURRENT").read_text() == "signals-002.wal"


async def test_vanished_segment_is_a_gap(opened: Opener, place: Path) -> None:
    """
    A segment that somebody removed leaves a gap, and its ordinal is never used again.
    """
    async with opened(segment_records_max=2) as ledger:
        await ledger.append([note(number) for number in range(5)])
    (place / DAY / "signals-003.wal").unlink()
    async with opened(segment_records_max=2) as ledger:
        [position] = await ledger.append([note(9)])
        assert position.sequence >> 32 == 4
        assert position.index > 5
        assert [gap.reason for gap in await ledger.gaps(DAY)] == ["The segment that _CURRENT names is gone"]


async def test_vanished_first_segment_keeps_its_sequences(opened: Opener, place: Path) -> None:
    """
    The records of a first segment that somebody removed are named by the sequences they had there.
    """
    async with opened(segment_records_max=2) as ledger:
        await ledger.append([note(number) for number in range(3)])
    (place / DAY / FIRST).unlink()
    async with opened(segment_records_max=2) as ledger:
        [gap] = await ledger.gaps(DAY)
    assert (gap.first_index, gap.last_index) == (1, 2)
    assert (gap.first_sequence, gap.last_sequence) == (1 << 32 | 1, 1 << 32 | 2)


async def test_six_digit_segments_are_read(opened: Opener, place: Path) -> None:
    """
    Segments are ordered by number and read with any count of digits from three.
    """
    async with opened(segment_records_max=1) as ledger:
        await ledger.append([note(number) for number in range(3)])
    partition = place / DAY
    for ordinal in (1, 2, 3):
        (partition / f"signals-{ordinal:03d}.wal").rename(partition / f"signals-{ordinal:06d}.wal")
    async with opened(segment_records_max=1) as ledger:
        assert len(await everything(ledger)) == 3


async def test_reader_changes_nothing(opened: Opener, place: Path, tmp_path: Path) -> None:
    """
    Reading, verifying and backing up leave every byte and name as they were, damaged or not.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(4)])
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        await everything(ledger)
        async for _ in ledger.verify(DAY):
            pass
        await ledger.back_up(tmp_path / "copy")
        assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


async def test_highwater_never_falls(opened: Opener, place: Path) -> None:
    """
    Whatever happens, in whatever order, the count of frames and the position of a partition only rise.
    """
    chance = random.Random(3)
    highest = total = 0
    for _ in range(25):
        async with opened(segment_records_max=6) as ledger:
            await ledger.append([note(number) for number in range(chance.randint(0, 4))])
            if DAY in {info.partition for info in await ledger.partitions()}:
                info = await ledger.partition(DAY)
                assert info.last_index >= highest
                assert info.total_records >= total
                highest, total = info.last_index, info.total_records
        segments = sorted((place / DAY).glob("*.wal")) if (place / DAY).exists() else []
        if segments and chance.random() < 0.5:
            segment = chance.choice(segments)
            data = segment.read_bytes()
            if data:
                segment.chmod(0o600)
                segment.write_bytes(flip(data, chance.randrange(len(data)), chance.randrange(8)))


async def test_open_in_a_copy(opened: Opener, place: Path) -> None:
    """
    Recovering a copy gives what recovering the original gives: nothing depends on where or how often it is done.
    """
    async with opened() as ledger:
        await ledger.append([note(number) for number in range(3)])
    (place / DAY / FIRST).write_bytes((place / DAY / FIRST).read_bytes()[:-3])
    shutil.copytree(place, place.parent / "copy")
    async with opened() as ledger:
        first = [(item.position, item.payload) for item in await everything(ledger) if isinstance(item, Record)]
    async with opened() as ledger:
        assert first == [(item.position, item.payload) for item in await everything(ledger) if isinstance(item, Record)]
    shutil.rmtree(place)
    (place.parent / "copy").rename(place)
    async with opened() as ledger:
        assert first == [(item.position, item.payload) for item in await everything(ledger) if isinstance(item, Record)]

"""
Every byte of a small partition changed, one at a time: nothing is lost in silence, nothing is read in a wrong place.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from omen_server.ledger import audit, seal
from omen_server.ledger.format import HEADER_BYTES
from omen_server.ledger.journal import Journal
from omen_server.ledger.marks import Marks
from omen_server.ledger.partition import Gap, read_partition_files
from omen_server.ledger.reader import Walk
from omen_server.ledger.recovery import recover
from omen_server.ledger.segment import Record, read_segment
from omen_server.ledger.settings import LedgerSettings
from tests.crash.images import kill
from tests.crash.records import NOON, NOTES, note
from tests.crash.simulated import Image, SimulatedDisk

ROOT = "/ledger"
DAY = "2026-01-28"
SETTINGS = LedgerSettings(segment_records_max=7, ballast_bytes=0, resume_free_bytes=0)
LAYOUTS = {"one batch": (6,), "a batch a record": (1,) * 5, "batches and a roll": (3, 1, 5, 2), "one record": (1,)}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """
    Thousands of recoveries need not be logged.
    """
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def now() -> datetime:
    """
    Return a moment after the day.
    """
    return datetime(2026, 1, 29, 6, tzinfo=UTC)


def journal_on(disk: SimulatedDisk) -> Journal:
    """
    Recover a disk and return its journal.
    """
    return Journal(disk, ROOT, SETTINGS, now, recover(disk, ROOT, SETTINGS, NOTES))


def written(groups: tuple[int, ...], *, sealed: bool) -> tuple[Image, dict[int, Record]]:
    """
    Return a partition's files and its records by position.
    """
    disk = SimulatedDisk.holding({ROOT: None})
    journal = journal_on(disk)
    number = 0
    for size in groups:
        journal.commit(DAY, [note(number + at, NOON, "some text") for at in range(size)], [])
        number += size
    if sealed:
        seal.seal(disk, ROOT, DAY, journal.freeze(DAY), codec=NOTES, now=now)
    return kill(disk.state), {item.position.index: item for item in read(disk) if isinstance(item, Record)}


def read(disk: SimulatedDisk) -> list[Record | Gap]:
    """
    Return what a reader in another process yields.
    """
    return list(Walk(disk, read_partition_files(disk, ROOT, DAY), NOTES, Marks()))


def flips(image: Image, only: Callable[[str], bool]) -> Iterator[tuple[str, int, Image]]:
    """
    Yield every image with one bit changed: all eight bits of frame headers, one bit of every other byte.
    """
    for path, content in image.items():
        if content is None or not only(path):
            continue
        headers: set[int] = set()
        if path.endswith(".wal"):
            for item in read_segment(content, DAY, path.rpartition("/")[2], NOTES.position_of):
                start = item.byte_offset if isinstance(item, Record) else item.start
                headers.update(range(start, start + HEADER_BYTES))
        for at in range(len(content)):
            for bit in range(8) if at in headers else (at % 8,):
                changed = bytearray(content)
                changed[at] ^= 1 << bit
                yield path, at, {**image, path: bytes(changed)}


def assert_nothing_silent(items: list[Record | Gap], originals: dict[int, Record]) -> None:
    """
    Check that each original is there as it was or lies in a gap, and that at most one is lost.
    """
    readable = {item.position.index: item for item in items if isinstance(item, Record)}
    lost = set(originals) - set(readable)
    in_gaps = {
        index for item in items if isinstance(item, Gap) for index in range(item.first_index, item.last_index + 1)
    }
    assert len(lost) == 1
    assert lost <= in_gaps
    for index, record in readable.items():
        assert record.payload == originals[index].payload
        assert record.position == originals[index].position


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flip_in_an_open_partition_costs_one_named_record(layout: str) -> None:
    """
    A flipped bit costs one record, in the last batch too, before and after a recovery, and its position is not reused.
    """
    image, originals = written(LAYOUTS[layout], sealed=False)
    for _, _, flipped in flips(image, lambda path: path.endswith(".wal")):
        assert_nothing_silent(read(SimulatedDisk.holding(flipped)), originals)
        disk = SimulatedDisk.holding(flipped)
        journal = journal_on(disk)
        assert_nothing_silent(read(disk), originals)
        results = []  # type: ignore[var-annotated]
        journal.commit(DAY, [note(77), note(78)], results)
        assert min(result.index for result in results) > max(originals)
        assert min(result.offset for result in results) > max(record.position.offset for record in originals.values())
        again = SimulatedDisk.holding(kill(disk.state))
        assert journal_on(again).durable_offset == results[-1].offset
        items = read(again)
        assert [item.position for item in items[-2:] if isinstance(item, Record)] == results
        assert_nothing_silent(items[:-2], originals)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flip_in_a_sealed_partition_is_named_by_verify(layout: str) -> None:
    """
    A flipped bit in a sealed segment costs one named record, and verify names its file and the byte it begins at.
    """
    image, originals = written(LAYOUTS[layout], sealed=True)
    for path, at, flipped in flips(image, lambda path: path.endswith(".wal")):
        disk = SimulatedDisk.holding(flipped)
        assert_nothing_silent(read(disk), originals)
        verdict = list(audit.verify(disk, ROOT, DAY, NOTES))[-1]
        assert isinstance(verdict, audit.Verdict)
        assert not verdict.intact
        fault = verdict.faults[0]
        hit = next(
            record
            for record in originals.values()
            if path.endswith(record.file) and record.byte_offset <= at < record.end
        )
        assert (fault.partition, fault.file, fault.byte_offset) == (DAY, hit.file, hit.byte_offset)
        assert (fault.sequence, fault.index) == (hit.position.sequence, hit.position.index)


def test_flip_in_a_seal_or_manifest_is_named_by_verify() -> None:
    """
    A changed seal or manifest is a fault, and the partition stays closed.
    """
    image, _ = written((3, 2), sealed=True)
    for path, _, flipped in flips(image, lambda path: "_SEALED" in path or "_manifest" in path):
        disk = SimulatedDisk.holding(flipped)
        verdict = list(audit.verify(disk, ROOT, DAY, NOTES))[-1]
        assert isinstance(verdict, audit.Verdict)
        assert not verdict.intact, path
        assert journal_on(disk).route(NOON, set()) == DAY + "-late"

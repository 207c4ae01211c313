"""
A real process, killed at every file operation of a short history.
"""

import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from omen_server.ledger import audit
from omen_server.ledger.catalogue import reconciled_through
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.names import ARCHIVE, TOMBSTONE, date_of
from omen_server.ledger.partition import read_partition_files
from omen_server.ledger.segment import Record
from tests.crash.mortal import DAY, END, SETTINGS
from tests.crash.records import NOTES, note, signal_id
from tests.processes import tree_environment

TREE = Path(__file__).parents[2]
NAME = DAY.date().isoformat()
LATER = DAY + timedelta(days=300)
# Deaths without which the campaign would have missed something.
NOTABLE = {
    "rename _LEDGER.json",
    f"create {NAME}/signals-002.wal",
    f"write {NAME}/signals-001.wal",
    f"the other half of {NAME}/signals-001.wal",
    f"sync_data {NAME}/signals-001.wal",
    f"rename {NAME}/_CURRENT",
    f"rename {NAME}/_manifest.json",
    f"rename {NAME}/_SEALED",
    f"make_dir {NAME}-late",
    f"rename {NAME}/_reconciled.json",
    f"rename {NAME}-late/_SEALED",
    f"create {NAME}-late/signals-002.wal",
    f"rename {NAME}/signals-001.wal.gz",
    f"unlink {NAME}/signals-001.wal",
    f"rename {ARCHIVE}/{NAME}",
    f"rename {NAME}-late/signals-002.wal",
    f"rename {ARCHIVE}/{NAME}/{TOMBSTONE}",
    f"unlink {ARCHIVE}/{NAME}/signals-001.wal.gz",
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """
    Hundreds of recoveries need not be logged.
    """
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def lived(place: Path) -> dict[int, list[str]]:
    """
    Let every life be lived, and return what each one said.
    """
    command = [sys.executable, "-m", "tests.crash.mortal", str(place)]
    subprocess.run(command, cwd=TREE, env=tree_environment(), check=True, timeout=100)
    return {int(said.stem): said.read_text().splitlines() for said in place.glob("*.said")}


async def records(ledger: Ledger, deleted: set[str]) -> dict[int, str]:
    """
    Return the ids of the signals by offset, "" where a day was deleted; any other hole is a failure.
    """
    items = [item async for batch in ledger.read() for item in batch]
    expected = 1
    found: dict[int, str] = {}
    for item in items:
        if isinstance(item, Record):
            offset, last = item.position.offset, item.position.offset
            found[offset] = signal_id(item.payload)
        else:
            offset, last = item.first_offset, item.last_offset
            assert item.partition in deleted, item
            found |= dict.fromkeys(range(offset, last + 1), "")
        assert offset == expected
        expected = last + 1
    assert expected == ledger.durable_offset + 1
    names = [name for name in found.values() if name]
    assert len(set(names)) == len(names), "a signal is there twice"
    return found


async def hold(place: Path, said: list[str]) -> None:
    """
    Start the ledger again, and hold it to everything that the life has said.
    """
    words = [line.split() for line in said]
    # From its tombstone on a day may go, and not a moment earlier.
    tombstone = (place / ARCHIVE / NAME / TOMBSTONE).exists()
    deleted = {name for verb, name, *_ in words if verb == "deleting" and tombstone}
    async with open_ledger(place, NOTES, SETTINGS, lambda: LATER) as ledger:
        kept = await records(ledger, deleted)
        for verb, *rest in words:
            if verb == "appended":
                offset, name = int(rest[0]), rest[1]
                assert kept.get(offset) == name or (deleted and kept.get(offset) == "")
            elif verb == "sealed":
                files = read_partition_files(Disk(), str(place), rest[0])
                assert files.manifest is not None
            elif verb == "confirmed":
                directory = read_partition_files(Disk(), str(place), NAME).directory
                assert reconciled_through(Disk(), directory) == int(rest[0])
        # One for each day, so that some go behind whatever the kill has left.
        days = sorted({date_of(name) for name in ledger.names()} | {LATER.date()})
        moments = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
        positions = await ledger.append([note(90 + at, moment) for at, moment in enumerate(moments)])
        more = {position.offset: f"OMEN-{90 + at:06d}" for at, position in enumerate(positions)}
        assert sorted(more) == list(range(len(kept) + 1, len(kept) + len(days) + 1))
        assert await records(ledger, deleted) == kept | more
        for name in ledger.names():
            *_, verdict = [item async for item in ledger.verify(name)]
            assert isinstance(verdict, audit.Verdict)
            assert verdict.intact, verdict


@pytest.mark.timeout(180)
async def test_kill_nine_at_every_file_operation(tmp_path: Path) -> None:
    """
    Whatever a process was doing to a file when it was killed: what it had acknowledged is there, once and in order.

    Seals, confirmations and the lifecycle among it; every partition verifies, and the next append goes on.
    """
    lives = lived(tmp_path)
    assert sorted(lives) == list(range(1, len(lives) + 1))
    ends = {dies_at: said.pop() for dies_at, said in lives.items()}
    assert [dies_at for dies_at, end in ends.items() if not end.startswith("died before ")] == [len(lives)]
    assert ends[len(lives)] == END
    assert {end.removeprefix("died before ") for end in ends.values()} >= NOTABLE
    for dies_at, said in sorted(lives.items()):
        try:
            await hold(tmp_path / str(dies_at), said)
        except Exception as error:
            error.add_note(f"life {dies_at}: {ends[dies_at]}")
            raise

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.lock import WriterLock
from omen_server.records import SIGNALS
from tests.clients.command import Ended, omen
from tests.clients.ledgers import DAY, NOON, SMALL, append, flip, frame_starts, hashes, tear
from tests.processes import tree_environment

NEXT_DAY = "2026-01-29"


def steps(ended: Ended) -> list[tuple[str, str]]:
    """
    Return which actions on which partitions a repair tells of, but for what is done at every start.
    """
    told = json.loads(ended.out)["steps"]
    return [(step["action"], step["partition"]) for step in told if step["action"] != "REWRITE"]


def test_a_torn_tail_is_cut_only_when_asked(ledger: Path) -> None:
    """
    The dry run exits 1 and changes nothing; --apply does exactly that, keeps the torn bytes, and then nothing is left.
    """
    segment = ledger / NEXT_DAY / "signals-001.wal"
    tear(segment)
    torn_at = frame_starts(segment)[-1]
    torn = segment.read_bytes()[torn_at:]
    before = hashes(ledger)
    dry = omen("ledger", "repair", ledger, "-o", "json")
    assert dry.code == 1
    assert steps(dry) == [("CUT", NEXT_DAY), ("QUARANTINE", NEXT_DAY)]
    assert hashes(ledger) == before
    text = omen("ledger", "repair", ledger, "--dry-run")
    assert f"{len(torn)} bytes from byte {torn_at} on are kept" in text.out
    assert "Nothing was changed" in text.err
    done = omen("ledger", "repair", ledger, "--apply", "-o", "json")
    assert done.code == 0
    assert steps(done) == steps(dry)
    assert segment.stat().st_size == torn_at
    [kept] = (ledger / "_quarantine").glob("*.bytes")
    assert kept.read_bytes() == torn
    again = omen("ledger", "repair", ledger, "-o", "json")
    assert (again.code, steps(again)) == (0, [])


def test_a_repair_says_what_the_next_start_does(ledger: Path) -> None:
    """
    Temporary files go, a half-done seal is finished, and damage at the end becomes a named gap with nothing cut.
    """
    (ledger / DAY / "_SEALED").unlink()
    (ledger / "_LEDGER.json.tmp").write_text("{")
    segment = ledger / NEXT_DAY / "signals-001.wal"
    flip(segment, frame_starts(segment)[-1] + 100)
    size = segment.stat().st_size
    dry = omen("ledger", "repair", ledger, "-o", "json")
    assert set(steps(dry)) == {("FINISH_SEAL", DAY), ("REMOVE", ""), ("NAME_GAP", NEXT_DAY)}
    done = omen("ledger", "repair", ledger, "--apply", "-o", "json")
    assert steps(done) == steps(dry)
    assert segment.stat().st_size == size
    assert omen("ledger", "verify", ledger, DAY).code == 0
    assert omen("ledger", "repair", ledger).code == 0


async def test_the_server_goes_on_after_a_repair(ledger: Path) -> None:
    """
    A repaired ledger opens, takes records, and verifies.
    """
    tear(ledger / NEXT_DAY / "signals-001.wal")
    assert (await asyncio.to_thread(omen, "ledger", "repair", ledger, "--apply")).code == 0
    async with open_ledger(ledger, SIGNALS, SMALL) as opened:
        await append(opened, range(100, 103), NOON)
    verified = await asyncio.to_thread(omen, "ledger", "verify", ledger)
    assert verified.code == 0, verified.out


def test_lifecycle_does_nothing_unless_told(ledger: Path) -> None:
    """
    Without --apply, and with --dry-run, it says what it would do; with --apply it does that, once.
    """
    days = ("--hot-days", "0", "--warm-days", "9999", "-o", "json")
    before = hashes(ledger)
    for spelling in ((), ("--dry-run",)):
        [step] = json.loads(omen("ledger", "lifecycle", ledger, *spelling, *days).out)
        assert (step["partition"], step["action"], step["applied"]) == (DAY, "COMPRESS", False)
    assert hashes(ledger) == before
    [step] = json.loads(omen("ledger", "lifecycle", ledger, "--apply", *days).out)
    assert (step["action"], step["applied"]) == ("COMPRESS", True)
    assert step["bytes_after"] < step["bytes_before"]
    assert len(list((ledger / DAY).glob("*.wal.gz"))) == 3
    assert json.loads(omen("ledger", "lifecycle", ledger, "--apply", *days).out) == []
    archived = ("--hot-days", "0", "--warm-days", "0")
    assert omen("ledger", "lifecycle", ledger, "--apply", *archived).code == 0
    assert (ledger / "_archive" / DAY).is_dir()
    assert omen("ledger", "verify", ledger, DAY).code == 0


def test_a_backup_is_restored_in_a_new_epoch(ledger: Path, tmp_path: Path) -> None:
    """
    The copy verifies and holds the same records; what is restored has the ledger's id and another epoch.
    """
    before = hashes(ledger)
    copied = omen("ledger", "backup", ledger, tmp_path / "copy", "-o", "json")
    assert copied.code == 0
    assert json.loads(copied.out)["through_offset"] == 65
    assert hashes(ledger) == before
    restored = omen("ledger", "restore", tmp_path / "copy", tmp_path / "new" / "ledger", "-o", "json")
    assert restored.code == 0
    identity = json.loads((ledger / "_LEDGER.json").read_text())
    assert json.loads(restored.out)["ledger_id"] == identity["ledger_id"]
    assert json.loads(restored.out)["ledger_epoch"] != identity["ledger_epoch"]
    assert omen("ledger", "verify", tmp_path / "new").code == 0
    for name in (DAY, f"{DAY}-late", NEXT_DAY):
        here, there = (omen("ledger", "cat", place, name, "-o", "jsonl").out for place in (ledger, tmp_path / "new"))
        assert here == there


def test_a_backup_needs_an_empty_place_and_a_restore_a_whole_backup(ledger: Path, tmp_path: Path) -> None:
    """
    Exit 2, and nothing is written over: neither a directory that holds something nor one without its last file.
    """
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photograph").touch()
    assert omen("ledger", "backup", ledger, tmp_path / "full").code == 2
    assert omen("ledger", "restore", ledger, tmp_path / "new").code == 2
    assert not (tmp_path / "new").exists()
    assert omen("ledger", "backup", ledger, tmp_path / "copy").code == 0
    before = hashes(ledger)
    assert omen("ledger", "restore", tmp_path / "copy", ledger).code == 2
    assert hashes(ledger) == before


def test_a_backup_with_a_fault_in_it_is_told(ledger: Path, tmp_path: Path) -> None:
    """
    Damage is copied as it is, and the backup exits 1 naming the partition.
    """
    flip(ledger / DAY / "signals-002.wal", 100)
    ended = omen("ledger", "backup", ledger, tmp_path / "copy", "-o", "json")
    assert ended.code == 1
    assert json.loads(ended.out)["faults_in"] == [DAY]


def test_writing_tools_are_refused_while_the_lock_is_held(ledger: Path) -> None:
    """
    Exit 7, the holder's pid in the message, and nothing changed; the lifecycle's dry run reads only.
    """
    lock = WriterLock(Disk(), str(ledger))
    try:
        before = hashes(ledger)
        for tool in (("repair",), ("repair", "--apply"), ("lifecycle", "--apply")):
            ended = omen("ledger", tool[0], ledger, *tool[1:], "-o", "json")
            assert ended.code == 7
            assert json.loads(ended.err)["error"]["reason"] == "LEDGER_LOCKED"
            assert f"process {os.getpid()}" in ended.err
        assert omen("ledger", "lifecycle", ledger, "--hot-days", "0").code == 0
        assert hashes(ledger) == before
    finally:
        lock.release()


@dataclass
class Writing:
    """
    A process that writes a ledger, and the offsets it has had acknowledged.
    """

    pid: int
    acknowledged: list[int] = field(default_factory=list)
    partitions: set[str] = field(default_factory=set)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def reach(self, count: int) -> None:
        """
        Wait until so many records are acknowledged.
        """
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.acknowledged) >= count)


@asynccontextmanager
async def writing(place: Path) -> AsyncIterator[Writing]:
    """
    Run a process that appends to the ledger until the block ends.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.clients.ledgers",
        str(place),
        env=tree_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    state, stream = Writing(process.pid), process.stdout
    assert stream is not None

    async def read() -> None:
        async for line in stream:
            offset, partition = line.split()
            async with state.arrived:
                state.acknowledged.append(int(offset))
                state.partitions.add(partition.decode())
                state.arrived.notify_all()

    reading = asyncio.create_task(read())
    try:
        await state.reach(50)
        yield state
    finally:
        process.kill()
        await process.wait()
        await reading


async def tool(*arguments: str | Path) -> Ended:
    """
    Run a tool while the test goes on.
    """
    return await asyncio.to_thread(omen, "ledger", *arguments)


async def test_beside_a_running_writer(tmp_path: Path) -> None:
    """
    Reading tools see every acknowledged record and no fault; a backup has them all; writing tools name the pid.
    """
    async with writing(tmp_path / "ledger") as writer:
        place, known = tmp_path / "ledger", len(writer.acknowledged)
        verified = await tool("verify", place)
        assert verified.code == 0, verified
        assert f"Process {writer.pid} writes this ledger" in verified.err
        read: set[int] = set()
        for name in sorted(writer.partitions):
            ended = await tool("cat", place, name, "-o", "jsonl")
            records = [json.loads(line) for line in ended.out.splitlines()]
            assert not any("gap" in record for record in records)
            assert [record["ledger_index"] for record in records] == list(range(1, len(records) + 1))
            marks = [record.get("unproven", False) for record in records]
            assert marks == sorted(marks)
            read |= {record["ledger_offset"] for record in records}
        assert read >= set(writer.acknowledged[:known])
        for refused in (("repair", place), ("lifecycle", place, "--apply")):
            ended = await tool(*refused)
            assert ended.code == 7
            assert f"process {writer.pid}" in ended.err
        through = writer.acknowledged[-1]
        copied = await tool("backup", place, tmp_path / "copy", "-o", "json")
        assert copied.code == 0, copied
        assert json.loads(copied.out)["through_offset"] >= through
        await writer.reach(known + 100)
    restored = await tool("restore", tmp_path / "copy", tmp_path / "new")
    assert restored.code == 0
    verified = await tool("verify", tmp_path / "new", "-o", "json")
    assert json.loads(verified.out)["intact"]
    assert sum(row["record_count"] for row in json.loads(verified.out)["partitions"]) >= through


@pytest.mark.parametrize("end", ["header", "payload"])
def test_an_incomplete_end_is_in_flight_while_the_lock_is_held(ledger: Path, end: str) -> None:
    """
    Beside a writer a frame that is not whole is no gap, no fault, and dump calls it in flight; without one it is a gap.
    """
    with (ledger / NEXT_DAY / "signals-001.wal").open("ab") as file:
        file.write(bytes.fromhex("0000") if end == "header" else bytes.fromhex("000001f41a2b3c4d") + b'{"schema')
    shown = ("ledger", "dump", ledger, NEXT_DAY, "--after-index", "10", "-o", "jsonl")
    lock = WriterLock(Disk(), str(ledger))
    try:
        assert omen("ledger", "verify", ledger, NEXT_DAY).code == 0
        assert '"gap"' not in omen("ledger", "cat", ledger, NEXT_DAY, "-o", "jsonl").out
        assert json.loads(omen(*shown).out)["in_flight"] is True
    finally:
        lock.release()
    assert '"gap"' in omen("ledger", "cat", ledger, NEXT_DAY, "-o", "jsonl").out
    assert "in_flight" not in json.loads(omen(*shown).out)

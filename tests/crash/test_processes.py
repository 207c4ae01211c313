"""
Real processes: killed while they write, read by others while they write, and watched call by call.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record
from tests.conftest import need
from tests.crash.producing import SETTINGS
from tests.crash.records import NOTES, signal_id

ROOT = Path(__file__).parents[2]


@contextmanager
def producing(place: Path, producers: int, records: int) -> Iterator[subprocess.Popen[bytes]]:
    """
    Start the process that appends, and make sure that it is gone afterwards.
    """
    command = [sys.executable, "-m", "tests.crash.producing", str(place), str(producers), str(records)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto:{ROOT}/clients"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(output: bytes) -> dict[int, str]:
    """
    Return what the process said was acknowledged, by offset; a last line that was cut was never said.
    """
    lines = output.decode().split("\n")[:-1]
    return {int(offset): name for offset, name in (line.split() for line in lines)}


async def recovered(place: Path) -> dict[int, str]:
    """
    Open the ledger and return its signals by offset; a gap is a failure.
    """
    from omen_server.ledger.directory import open_ledger  # noqa: PLC0415 - the victim's import is the one that counts.

    async with open_ledger(place, NOTES, SETTINGS) as ledger:
        found = [item async for batch in ledger.read() for item in batch]
        last = ledger.durable_offset
    assert not [item for item in found if isinstance(item, Gap)]
    assert [item.position.offset for item in found if isinstance(item, Record)] == list(range(1, last + 1))
    return {item.position.offset: signal_id(item.payload) for item in found if isinstance(item, Record)}


async def kill_rounds(place: Path, rounds: int) -> None:
    """
    Kill the producing process at a random moment, again and again in one ledger, and count what was acknowledged.
    """
    chance = random.Random(rounds)
    promised: dict[int, str] = {}
    for _ in range(rounds):
        with producing(place, 32, 100_000) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 400))]
            process.send_signal(signal.SIGKILL)
            lines.append(process.stdout.read())
        promised |= acknowledged(b"".join(lines))
        kept = await recovered(place)
        assert {offset: kept.get(offset) for offset in promised} == promised


async def test_kill_nine_of_32_producers(tmp_path: Path) -> None:
    """
    Every record that 32 producers saw acknowledged before a SIGKILL is there, once, in order, after many of them.
    """
    await kill_rounds(tmp_path / "ledger", 6)


@pytest.mark.prove
async def test_kill_nine_fifty_times(tmp_path: Path) -> None:
    """
    The same, fifty times.
    """
    await kill_rounds(tmp_path / "ledger", 50)


def watch(place: Path, seconds: float) -> int:
    """
    Read a ledger over and over while another process writes it; return how many reads were made.
    """
    with producing(place, 16, 100_000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.set_blocking(process.stdout.fileno(), False)
        end = time.monotonic() + seconds
        seen: dict[int, str] = {}
        reads = behind = 0
        while time.monotonic() < end:
            process.stdout.read()
            items = list(OfflineLedger(place, NOTES).read(behind))
            assert all(isinstance(item, Record) for item in items), items
            found = {item.position.offset: signal_id(item.payload) for item in items if isinstance(item, Record)}
            assert list(found) == list(range(behind + 1, behind + 1 + len(found)))
            assert {offset: found.get(offset, name) for offset, name in seen.items() if offset > behind} == {
                offset: name for offset, name in seen.items() if offset > behind
            }
            proven = [item.position.offset for item in items if isinstance(item, Record) and not item.unproven]
            seen = found
            # From the beginning every third time, else from near the end.
            reads += 1
            behind = 0 if reads % 3 == 0 else max(proven, default=behind)
        return reads


def test_reader_in_another_process_sees_a_clean_prefix(tmp_path: Path) -> None:
    """
    While a writer runs at full speed, every read from outside is a prefix without holes, errors or changed records.
    """
    assert watch(tmp_path / "ledger", 10 if os.environ.get("CI") else 4) > 3


@pytest.mark.prove
def test_reader_in_another_process_for_a_minute(tmp_path: Path) -> None:
    """
    The same for sixty seconds.
    """
    assert watch(tmp_path / "ledger", 60) > 30


CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
UNFINISHED = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
PATH = re.compile(r"<([^>]*)>")


def calls(trace: Path) -> Iterator[tuple[str, str, int]]:
    """
    Yield name, arguments and result of every call in the order in which the calls ended.
    """
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        whole = line
        if unfinished := UNFINISHED.match(line):
            begun[unfinished[1]] = unfinished[2]
            continue
        if resumed := RESUMED.match(line):
            whole = f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}"
        if call := CALL.match(whole):
            yield call[2], call[3], int(call[4])


def test_strace_replay(tmp_path: Path) -> None:
    """
    The real process syncs what the file layer says it syncs.

    No acknowledgement leaves while a segment's bytes or a name in the ledger are unsynced, and nothing is renamed whose
    bytes were not synced: what the OS saw, not what a wrapper believes.
    """
    trace, place = tmp_path / "trace", tmp_path / "ledger"
    wanted = "trace=openat,pwrite64,write,fdatasync,fsync,rename,renameat,renameat2,mkdir,mkdirat,unlink"
    command = [need("strace"), "-f", "-y", "-s", "64", "-e", wanted, "-o", str(trace)]
    command += [sys.executable, "-m", "tests.crash.producing", str(place), "1", "12"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto:{ROOT}/clients"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=50)
    assert len(acknowledged(done.stdout)) == 12
    seen: Counter[str] = Counter()
    unsynced: set[str] = set()
    unsynced_names: set[str] = set()
    for name, arguments, result in calls(trace):
        own = [path for path in PATH.findall(arguments) if path.startswith(str(place))]
        named = [path for path in re.findall(r'"([^"]*)"', arguments) if path.startswith(f"{place}/")]
        if result < 0 or not (own or named or arguments.startswith("1<")):
            continue
        if name == "pwrite64" and not own[0].endswith(("_LOCK", "_BALLAST")):
            seen["write"] += 1
            unsynced.add(own[0])
        elif name in {"fdatasync", "fsync"}:
            seen[name] += 1
            unsynced.discard(own[0])
            unsynced_names.discard(own[0])
        elif name.startswith("rename"):
            seen["rename"] += 1
            assert named[0] not in unsynced, f"{named[0]} was renamed before it was synced"
            unsynced_names.add(str(Path(named[1]).parent))
        elif name.startswith("mkdir") or (name == "openat" and "O_CREAT" in arguments and named[0].endswith(".wal")):
            seen["new name"] += 1
            unsynced_names.add(str(Path(named[0]).parent))
        elif name == "write" and arguments.startswith("1<") and "OMEN-" in arguments:
            seen["acknowledgement"] += 1
            assert not unsynced, f"acknowledged while {unsynced} were not synced"
            assert not unsynced_names, f"acknowledged while names in {unsynced_names} were not synced"
    assert seen["acknowledgement"] == seen["fdatasync"] == 12
    assert seen["new name"] == 4
    assert seen["rename"] >= 3


async def test_stopped_writer_is_still_the_writer(tmp_path: Path) -> None:
    """
    A writer that is frozen by SIGSTOP keeps its lock; killed, it gives it back.
    """
    with producing(tmp_path / "ledger", 4, 100_000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        offline = OfflineLedger(tmp_path / "ledger", NOTES)
        assert offline.is_live()
        process.send_signal(signal.SIGKILL)
        process.send_signal(signal.SIGCONT)
        output = process.stdout.read()
        process.wait()
        assert not offline.is_live()
        await asyncio.sleep(0)
    kept = await recovered(tmp_path / "ledger")
    assert {offset: kept.get(offset) for offset in acknowledged(output)} == acknowledged(output)

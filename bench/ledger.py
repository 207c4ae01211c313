"""
What the ledger costs: ``python bench/ledger.py [--json] [--only NAME …] [--directory DIR]``.

Every ratio comes from one run. Records are ready-made payloads of the size of a typical signal; what encoding one costs
is `bench/codec.py`'s business.
"""
# ruff: noqa: D102 - the methods of a disk that watches or fails are the real ones, and `Disk` describes them.

import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from omen_rpc.position import Position, position_hash
from omen_rpc.signal_codec import position_of
from omen_server.ledger.audit import Verdict
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Codec, Entry
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.ledger.settings import LedgerSettings

HEAD = b'{"schema_version":"1.0.0","ledger_written_at":"2026-01-28T10:00:05Z","ledger_partition":"%s",'
HEAD += b'"ledger_sequence":%d,"ledger_index":%d,"ledger_offset":%d,"ledger_durable_offset":%d,'
HEAD += b'"signal_id":"OMEN-%012d","text":"'
TAIL = b"x" * 700 + b'"}'
SIGNAL_ID = re.compile(rb'"signal_id":"([^"]*)"')


class Ready:
    """
    A record whose stamping costs next to nothing.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def stamp(self, position: Position) -> bytes:
        """
        Return the payload.
        """
        places = position.sequence, position.index, position.offset, position.durable_offset, self.number
        return HEAD % (position.partition.encode(), *places) + TAIL


def signal_id(payload: bytes) -> str:
    """
    Return the id in a ready payload.
    """
    found = SIGNAL_ID.search(payload)
    return found[1].decode() if found else ""


def hash_of(payload: bytes) -> tuple[int, int]:
    """
    Return a position hash; the digest of the content is the id here.
    """
    return position_hash("2026-01-28", 1, signal_id(payload), "")


READY = Codec(position_of, hash_of, signal_id)


class CountingDisk(Disk):
    """
    The real disk, counting what durability costs.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self.written_bytes = 0

    def sync_data(self, fd: int) -> None:
        self.syncs += 1
        super().sync_data(fd)

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        taken = super().write(fd, data, at)
        self.written_bytes += taken
        return taken


def entries(first: int, count: int) -> list[Entry]:
    """
    Return some entries of today.
    """
    now = datetime.now(UTC)
    return [Entry(now, Ready(number)) for number in range(first, first + count)]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """
    Return p50 to p99.9 in milliseconds.
    """
    ordered = sorted(seconds)
    return {
        f"p{share:g}_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] * 1000, 3)
        for share in (50, 90, 99, 99.9)
    }


async def appended(place: Path, producers: int, per_call: int, calls: int, **limits: float) -> dict[str, Any]:
    """
    Append from some producers, each one call after the other, and say what it took.
    """
    disk = CountingDisk()
    waits: list[float] = []

    async def produce(ledger: Ledger, producer: int) -> None:
        for call in range(calls):
            batch = entries((producer * calls + call) * per_call, per_call)
            begin = perf_counter()
            await ledger.append(batch)
            waits.append(perf_counter() - begin)

    async with open_ledger(place, READY, LedgerSettings(**limits), disk=disk) as ledger:  # type: ignore[arg-type]
        await ledger.append(entries(0, 1))
        disk.syncs = disk.written_bytes = 0
        begin = perf_counter()
        await asyncio.gather(*(produce(ledger, producer) for producer in range(producers)))
        seconds = perf_counter() - begin
    count = producers * per_call * calls
    return {
        "records_per_s": round(count / seconds),
        **percentiles(waits),
        "syncs_per_record": round(disk.syncs / count, 4),
        "bytes_per_record": round(disk.written_bytes / count),
    }


async def concurrency(place: Path) -> dict[str, Any]:
    """
    One record a call, from 1 to 256 producers.
    """
    return {
        f"{producers} producers": await appended(place / str(producers), producers, 1, max(20, 6000 // producers))
        for producers in (1, 8, 32, 256)
    }


async def group_commit(place: Path) -> dict[str, Any]:
    """
    32 producers sharing syncs, and 32 producers with a sync for every record.
    """
    shared = await appended(place / "shared", 32, 1, 250)
    alone = await appended(place / "alone", 32, 1, 80, batch_records_max=1)
    ratio = round(shared["records_per_s"] / alone["records_per_s"], 2)
    return {"group commit": shared, "a sync a record": alone, "ratio": ratio}


async def batches(place: Path) -> dict[str, Any]:
    """
    Calls of a hundred records, one after the other and from four producers.
    """
    return {
        "1 producer": await appended(place / "one", 1, 100, 500),
        "4 producers": await appended(place / "four", 4, 100, 250),
    }


async def roll(place: Path) -> dict[str, Any]:
    """
    The same calls with a roll at every call, to show what a roll costs.
    """
    return {"a roll every 100 records": await appended(place, 1, 100, 100, segment_records_max=100)}


async def million(place: Path) -> dict[str, Any]:
    """
    Fill a partition with a million records; read, seal and verify it, each in a process of its own for its memory.
    """
    count = int(os.environ.get("BENCH_RECORDS", "1000000"))
    async with open_ledger(place, READY) as ledger:
        begin = perf_counter()
        for first in range(0, count, 4000):
            await asyncio.gather(*(ledger.append(entries(first + part, 1000)) for part in range(0, 4000, 1000)))
        seconds = perf_counter() - begin
        name = (await asyncio.to_thread(OfflineLedger(place, READY).names))[0]
    figures: dict[str, Any] = {"fill": {"records_per_s": round(count / seconds)}}
    for step in ("read", "recover", "verify", "seal"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--step", step, str(place), name, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        figures[step] = json.loads(said)
    return figures


async def step(what: str, place: Path, name: str) -> dict[str, Any]:
    """
    Do one thing to a large partition in this process, and say what it took.
    """
    begin, count = perf_counter(), 0
    if what == "read":
        count = sum(isinstance(item, Record) for item in OfflineLedger(place, READY).read_partition(name))
    elif what == "verify":
        verdict = list(OfflineLedger(place, READY).verify(name))[-1]
        count = verdict.record_count if isinstance(verdict, Verdict) and verdict.intact else 0
    else:
        async with open_ledger(place, READY) as ledger:
            count = ledger.durable_offset
            if what == "seal":
                begin = perf_counter()
                count = (await ledger.seal(name, force=True))[0].total_records
    seconds = perf_counter() - begin
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "records": count,
        "seconds": round(seconds, 2),
        "records_per_s": round(count / seconds),
        "rss_mb": rss // 1024,
    }


CASES: dict[str, Callable[[Path], Awaitable[dict[str, Any]]]] = {
    "concurrency": concurrency,
    "group-commit": group_commit,
    "batches": batches,
    "roll": roll,
    "million": million,
}


async def main() -> None:
    """
    Run the cases and print their figures.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--directory", type=Path, help="where to write; a directory that is removed afterwards is made in it"
    )
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(await step(arguments.step[0], Path(arguments.step[1]), arguments.step[2])))
        return
    place = Path(tempfile.mkdtemp(prefix="bench-ledger-", dir=arguments.directory))
    try:
        figures = {name: await CASES[name](place / name) for name in arguments.only}
    finally:
        shutil.rmtree(place)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, rows in figures.items():
        print(name)
        for row, values in rows.items():
            print(
                f"  {row:26}",
                values if not isinstance(values, dict) else "  ".join(f"{k}={v}" for k, v in values.items()),
            )


if __name__ == "__main__":
    asyncio.run(main())

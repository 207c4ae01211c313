"""
What the ledger costs: ``python -m bench.ledger [--dir DIR] [--million]``.

The figures are those of `omen bench ledger`. With ``--million`` a partition of a million records is filled, then read,
recovered, verified and sealed, each in a process of its own, to tell its memory.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from omen_cli.app import run
from omen_cli.bench.appending import Load, maker
from omen_server.ledger.audit import Verdict
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.records import SIGNALS

STEPS = ("read", "recover", "verify", "seal")


async def million(place: Path) -> dict[str, Any]:
    """
    Fill a partition and run every step over it.
    """
    count, make = int(os.environ.get("BENCH_RECORDS", "1000000")), maker(Load("fill", 4, 1000, "json"))
    async with open_ledger(place, SIGNALS) as ledger:
        begin = perf_counter()
        for _ in range(0, count, 4000):
            await asyncio.gather(*(ledger.append([make() for _ in range(1000)]) for _ in range(4)))
        figures: dict[str, Any] = {"fill": {"records_per_s": round(count / (perf_counter() - begin))}}
    name = (await asyncio.to_thread(OfflineLedger(place, SIGNALS).names))[0]
    for what in STEPS:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.ledger", "--step", what, str(place), name, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        figures[what] = json.loads(said)
    return figures


async def step(what: str, place: Path, name: str) -> dict[str, Any]:
    """
    Do one thing to a large partition in this process, and say what it took.
    """
    begin, count = perf_counter(), 0
    if what == "read":
        count = sum(isinstance(item, Record) for item in OfflineLedger(place, SIGNALS).read_partition(name))
    elif what == "verify":
        verdict = list(OfflineLedger(place, SIGNALS).verify(name))[-1]
        count = verdict.record_count if isinstance(verdict, Verdict) and verdict.intact else 0
    else:
        async with open_ledger(place, SIGNALS) as ledger:
            count = ledger.durable_offset
            if what == "seal":
                begin = perf_counter()
                count = (await ledger.seal(name, force=True))[0].total_records
    seconds = perf_counter() - begin
    return {
        "records": count,
        "seconds": round(seconds, 2),
        "records_per_s": round(count / seconds),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> int:
    """
    Print the figures.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=".", help="on which disk")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        what, place, name = arguments.step
        print(json.dumps(asyncio.run(step(what, Path(place), name))))
        return 0
    if not arguments.million:
        return run(["bench", "ledger", "--dir", arguments.dir])
    with tempfile.TemporaryDirectory(prefix="omen-bench-", dir=arguments.dir) as directory:
        print(json.dumps(asyncio.run(million(Path(directory))), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

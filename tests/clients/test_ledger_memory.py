import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from omen_rpc.signal_codec import prepare
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.entry import Entry
from omen_server.records import SIGNALS
from tests.clients.ledgers import DAY, NOON, signal
from tests.processes import tree_environment

MEMORY_BYTES_MAX = 150 << 20


async def fill(place: Path, records: int) -> None:
    """
    Write a partition of so many records.
    """
    record = prepare(signal(1), "json")
    async with open_ledger(place, SIGNALS, now=lambda: NOON) as ledger:
        for _ in range(records // 1000):
            await ledger.append([Entry(NOON, record)] * 1000)


# Runs a command, and tells on stderr the most memory it had. What the kernel tells a parent of its children begins with
# the memory of the parent itself, and this one has run other tests.
MEASURED = """
import re, sys
from omen_cli.app import run
code = run(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_a_million_records_are_read_and_verified_in_bounded_memory(tmp_path: Path) -> None:
    """
    Reading and verifying a million records stays below 150 MB.
    """
    asyncio.run(fill(tmp_path / "ledger", 1_000_000))
    place = str(tmp_path / "ledger")
    for line in (["verify", place], ["cat", place, DAY, "-o", "jsonl"]):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "ledger", *line],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env=tree_environment(),
        )
        most_bytes = int(done.stderr.splitlines()[-1]) << 10
        assert 10 << 20 < most_bytes < MEMORY_BYTES_MAX, line[0]

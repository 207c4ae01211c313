import asyncio
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from omen_rpc.signal_codec import prepare
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.entry import Entry
from omen_server.records import SIGNALS
from tests.clients.command import OMEN
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


@pytest.mark.prove
def test_a_million_records_are_read_and_verified_in_bounded_memory(tmp_path: Path) -> None:
    """
    Reading and verifying a million records stays below 150 MB.
    """
    asyncio.run(fill(tmp_path / "ledger", 1_000_000))
    place = str(tmp_path / "ledger")
    for line in (["verify", place], ["cat", place, DAY, "-o", "jsonl"]):
        subprocess.run(
            [sys.executable, OMEN, "ledger", *line], stdout=subprocess.DEVNULL, check=True, env=tree_environment()
        )
        # Of all children so far; on Linux in kilobytes.
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < MEMORY_BYTES_MAX, line[0]

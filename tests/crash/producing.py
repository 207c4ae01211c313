"""
A process that appends from many producers and says what was acknowledged: the victim of the kill tests.

    python -m tests.crash.producing DIRECTORY [PRODUCERS] [RECORDS]
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omen_server.ledger.directory import open_ledger
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.settings import LedgerSettings
from tests.crash.records import NOTES, note

SETTINGS = LedgerSettings(segment_records_max=500, ballast_bytes=1 << 16, resume_free_bytes=0)


async def produce(ledger: Ledger, producer: int, records: int) -> None:
    """
    Append one record after the other over two days, and print each one's offset and id once it is acknowledged.
    """
    for number in range(records):
        entry = note(
            producer * 100_000 + number, datetime.now(UTC) - timedelta(days=number % 2), "x" * (number * 37 % 700)
        )
        [position] = await ledger.append([entry])
        # One write a line: what arrives in the pipe was acknowledged before.
        os.write(1, f"{position.offset} OMEN-{producer * 100_000 + number:06d}\n".encode())


async def main() -> None:
    """
    Run the producers, or run them until somebody kills the process.
    """
    directory, producers, records = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    async with open_ledger(directory, NOTES, SETTINGS) as ledger:
        await asyncio.gather(*(produce(ledger, producer, records) for producer in range(producers)))


if __name__ == "__main__":
    asyncio.run(main())

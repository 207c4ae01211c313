"""
Put a hundred signals at once when told to, and print the receipts: `racing_store.py URL up|down`.
"""

import asyncio
import json
import sys
from pathlib import Path

# Run as a program, not imported as a test: the paths that pytest's settings give are not there.
ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "proto")]


async def main(url: str, order: str) -> None:
    """
    Put single signals and batches of ten, in the order given.
    """
    from riskcast_server.store import open_store  # noqa: PLC0415 - importable only now.
    from tests.contracts.arrivals import run  # noqa: PLC0415 - as above.

    arrivals = run(1, 100)[:: 1 if order == "up" else -1]
    puts = [[each] for each in arrivals[:50]] + [arrivals[at : at + 10] for at in range(50, 100, 10)]
    async with open_store(url) as store:
        print("ready", flush=True)  # noqa: T201 - stdout is how the test is told.
        await asyncio.to_thread(sys.stdin.readline)
        told = await asyncio.gather(*(store.signals.put(each) for each in puts))
    receipts = {receipt.signal_id: (receipt.ack_id, receipt.duplicate) for batch in told for receipt in batch}
    print(json.dumps(receipts))  # noqa: T201 - as above.


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

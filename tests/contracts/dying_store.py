"""
Put a signal, and be killed around the commit: `dying_store.py URL NUMBER APPLIED`.
"""

import asyncio
import sys
from pathlib import Path

import pytest

# Run as a program, not imported as a test: the paths that pytest's settings give are not there.
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "proto")]


async def main(url: str, number: int, *, applied: bool) -> None:
    """
    Put the signal, and do not survive it.
    """
    from riskcast_server.store import open_store  # noqa: PLC0415 - importable only now.
    from tests.contracts.arrivals import arrival  # noqa: PLC0415 - as above.
    from tests.contracts.store_engines import watch_commits  # noqa: PLC0415 - as above.

    with pytest.MonkeyPatch.context() as patch:
        commits = watch_commits(patch)
        async with open_store(url) as store:
            commits.kill(applied=applied)
            await store.signals.put([arrival(number, number, request_id="before")])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), applied=sys.argv[3] == "True"))

"""
Append and index ten signals, append ten more, and be killed while those are indexed: `dying_index.py PLACE URL MOMENT`.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

# Run as a program, not imported as a test: the paths that pytest's settings give are not there.
ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "clients")]


def die(*_arguments: Any, **_named: Any) -> None:
    """
    Let this be the last thing that this process does.
    """
    os.kill(os.getpid(), signal.SIGKILL)


async def main(place: Path, url: str, moment: str) -> None:
    """
    Die before the write, within its transaction, or right after its commit.
    """
    from omen_server.index import open_index  # noqa: PLC0415 - importable only now.
    from omen_server.index.follower import Follower  # noqa: PLC0415 - as above.
    from omen_server.index.sqlite import writing  # noqa: PLC0415 - as above.
    from omen_server.tail import Tail  # noqa: PLC0415 - as above.
    from tests.ledgers import opened  # noqa: PLC0415 - as above.
    from tests.omen_server.index.comparing import append  # noqa: PLC0415 - as above.

    async with opened(place) as ledger, open_index(url) as index:
        tail = Tail(ledger)
        follower = Follower(ledger.identity, tail, index)
        await append(ledger, range(10), tail)
        await follower.catch_up()
        running = asyncio.create_task(follower.run())
        put, insert = writing.put, writing._insert

        def then_die(step: Any) -> Any:
            def both(*arguments: Any, **named: Any) -> None:
                step(*arguments, **named)
                die()

            return both

        deaths = {"before": ("put", die), "within": ("_insert", then_die(insert)), "after": ("put", then_die(put))}
        setattr(writing, *deaths[moment])
        await append(ledger, range(10, 20), tail)
        await running


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

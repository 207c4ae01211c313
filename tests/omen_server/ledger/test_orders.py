import asyncio
from pathlib import Path
from threading import Event

import pytest

from tests.ledgers import DAY, entries, opened


async def test_an_order_whose_giver_went_away(place: Path) -> None:
    """
    An order that is cancelled before its turn is not carried out, and the writer goes on as if it had not been given.
    """
    async with opened(place) as ledger:
        await ledger.append(entries([1]))
        busy, release = Event(), Event()
        begun: list[int] = []

        def wait() -> None:
            busy.set()
            release.wait(10)

        blocking = asyncio.create_task(ledger._writer.order(wait))
        await asyncio.to_thread(busy.wait, 10)
        given = asyncio.create_task(ledger._writer.order(lambda: begun.append(1)))
        await asyncio.sleep(0)
        given.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given
        release.set()
        await blocking
        async with asyncio.timeout(30):
            [position] = await ledger.append(entries([2]))
        assert (position.index, begun) == (2, [])
        assert await ledger.confirm_reconciled(DAY, 2) == 2

"""
What a comparison costs, counted and not timed: bytes between the three, and records read from the ledger.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_client import OmenClient
from omen_rpc.errors import DeadlineExceeded
from omen_rpc.position import BLOCK_POSITIONS
from omen_server.ledger.partition import Gap
from reconciler.comparing import Comparing
from tests.ledgers import entries, signal_id
from tests.reconciler.world import DAY, World, status, world

POSITIONS = [20_000, pytest.param(1_000_000, marks=pytest.mark.prove)]
SCATTERED = 100


class Reads:
    """
    Which positions of the ledger are read, seen from the reconciler.
    """

    def __init__(self, at: World) -> None:
        self.indexes: list[int] = []
        self.ranges = 0
        self._read = at.near.client.read_partition
        at.near.client.read_partition = self  # type: ignore[method-assign]

    def __call__(
        self, name: str, *, indexes: Sequence[int] = (), **more: Any
    ) -> AsyncGenerator[SignalEvent | LedgerGap, None]:
        """
        Count, and read.
        """
        self.indexes += indexes
        self.ranges += not indexes
        return self._read(name, indexes=indexes, **more)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.timeout(3600)
async def test_comparing_costs_what_is_missing(tmp_path: Path, positions: int) -> None:
    """
    With nothing missing both answers have less than 100 bytes, and no record is read; a hundred scattered ones cost
    half a kilobyte to find and to prove, and nothing is read but those.
    """
    async with world(tmp_path) as at:
        for first in range(1, positions + 1, 500):
            await at.near.ledger.append(entries(range(first, first + 500)))
        async with aclosing(at.near.client.read_partition(DAY)) as items:
            batch: list[SignalEvent] = []
            async for item in items:
                assert isinstance(item, SignalEvent)
                batch.append(item)
                if len(batch) == 500:
                    await at.push(batch)
                    batch.clear()
        assert not batch
        await at.seal()
        reads = Reads(at)
        assert status(await at.one()) == ("COMPLETED", "")
        result = await at.one()
        assert status(result) == ("SKIPPED", "up_to_date")
        assert result.bytes_compared <= 100
        assert (reads.indexes, reads.ranges) == ([], 0)
        lost = sorted(Random(7).sample(range(1, positions + 1), SCATTERED))
        for index in lost:
            at.far.lose(signal_id(index))
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), SCATTERED)
        assert result.bytes_compared <= 512
        assert (set(reads.indexes), reads.ranges) == (set(lost), 0)
        assert len({(index - 1) // BLOCK_POSITIONS for index in reads.indexes}) <= SCATTERED


async def test_a_riskcast_that_cannot_pack_is_understood(tmp_path: Path) -> None:
    """
    Ranges that come as they are mean the same.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 31), hot=[2, 3, 9, 30])
        await at.seal()
        mark = await at.comparing.watermark(DAY)
        packed = await at.comparing.coverage(mark)
        at.far.pack_nothing()
        plain = await at.comparing.coverage(mark)
        assert packed.missing == plain.missing == ((1, 1), (4, 8), (10, 29))
        assert packed.bytes_compared < plain.bytes_compared


async def test_the_first_look_at_a_day_may_take_long(tmp_path: Path) -> None:
    """
    OMEN reads all of a day to tell its watermark and its sum for the first time: both outwait a client's own deadline.
    """
    counted = asyncio.Event()
    async with world(tmp_path) as at, OmenClient(str(at.near.server.address), timeout_s=0.2, attempts_max=1) as omen:
        await at.append(range(1, 11))
        gaps, comparing = at.near.ledger.gaps, Comparing(omen, at.far.client)
        mark = await comparing.watermark(DAY)

        async def counting(name: str) -> list[Gap]:
            await counted.wait()
            return await gaps(name)

        at.near.ledger.gaps = counting  # type: ignore[method-assign]
        looks = asyncio.gather(comparing.watermark(DAY), comparing.ledger_sum(mark))
        for impatient in (omen.watermark(DAY), omen.fingerprint(DAY)):
            with pytest.raises(DeadlineExceeded):
                await impatient
        counted.set()
        again, (ledger, _) = await looks
        assert (again.through, ledger.count) == (10, 10)

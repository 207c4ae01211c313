"""
What a comparison costs, counted and not timed: bytes between the three, and records read from the ledger.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.position import BLOCK_POSITIONS
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
    With nothing missing RiskCast's answer has less than 100 bytes, the ledger's little more, and no record is read;
    a scattered one costs 12 bytes at most, and nothing is read but those, in at most as many blocks.
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
        assert result.bytes_compared <= 128
        coverage = await at.comparing.coverage(await at.comparing.watermark(DAY))
        assert coverage.bytes_compared <= 100
        assert (reads.indexes, reads.ranges) == ([], 0)
        lost = sorted(Random(7).sample(range(1, positions + 1), SCATTERED))
        for index in lost:
            at.far.lose(signal_id(index))
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), SCATTERED)
        assert result.bytes_compared <= 12 * SCATTERED + 2 * 128
        assert (set(reads.indexes), reads.ranges) == (set(lost), 0)
        assert len({(index - 1) // BLOCK_POSITIONS for index in reads.indexes}) <= SCATTERED

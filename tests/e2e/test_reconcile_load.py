"""
Rounds over a day that is being written, while the hot path fails now and then.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen_client import OmenClient
from riskcast.v1 import ingest_service_pb2 as ingest_pb
from riskcast_server.app import INGEST
from tests.e2e.pair import figures, omen, ready
from tests.e2e.reconciling import reconciler
from tests.processes import ServerProcess
from tests.reconciler.far_side import Door, FarSide, closed, far_side

SEED = 20_260_128
EMITS = [1_400, pytest.param(24_000, marks=pytest.mark.prove)]
EMITS_PER_S = 200
BATCH = 5
FAILING = 0.01
# A call takes up to so long, so that there are always some on their way when a round looks.
LATENCY_MAX_S = 0.15
# What fails is left to the reconciler at once, and the breaker stays out of it.
ONCE = ("--push-attempts-max=1", "--breaker-failures-max=50")
HOT_PATH = ingest_pb.INGEST_ORIGIN_HOT_PATH


@dataclass
class Unsteady(Door):
    """
    Takes its time, and fails some calls of the hot path: before it has stored a thing, or after.
    """

    chance: Random = field(default_factory=lambda: Random(SEED))
    unanswered: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    async def IngestBatch(self, request: ingest_pb.IngestBatchRequest, context: Any) -> ingest_pb.IngestBatchResponse:
        """
        Have it stored, or not.
        """
        names = {item.signal.signal_id for item in request.items}
        fails = self.chance.choice((self.lost, self.unanswered)) if self._fails(request) else None
        await asyncio.sleep(self.chance.uniform(0, LATENCY_MAX_S))
        if fails is self.lost:
            self.lost |= names
            raise closed()
        reply = await super().IngestBatch(request, context)
        if fails is self.unanswered:
            self.unanswered |= names
            raise closed()
        return reply

    def _fails(self, request: ingest_pb.IngestBatchRequest) -> bool:
        return request.origin == HOT_PATH and self.chance.random() < FAILING * len(request.items)


async def emitted(near: OmenClient, count: int) -> set[str]:
    """
    Emit so many signals at the rate, and return those that were answered LEDGER_ONLY.
    """
    loop = asyncio.get_running_loop()
    began_s, calls = loop.time(), []
    for first in range(0, count, BATCH):
        # The rate is the load, and nothing is waited for.
        await asyncio.sleep(max(0.0, began_s + first / EMITS_PER_S - loop.time()))
        calls.append(asyncio.create_task(near.emit_all([ready(first + number) for number in range(BATCH)])))
    left: set[str] = set()
    for results in await asyncio.gather(*calls):
        for result in results:
            assert isinstance(result, pb.EmitResult), result
            if result.status == pb.EMIT_STATUS_LEDGER_ONLY:
                left.add(result.event.signal_id)
    return left


async def arrived(far: FarSide, count: int) -> None:
    """
    Wait until RiskCast has so many signals.
    """
    async with asyncio.timeout(30):
        while len(far.acks()) < count:  # noqa: ASYNC110 - RiskCast tells nobody
            await asyncio.sleep(0.05)


async def counted(own: ServerProcess, brought: int) -> dict[str, float]:
    """
    Return the reconciler's figures when it has counted so many replayed signals: it does at the end of a round.
    """
    async with asyncio.timeout(30):
        while (series := await figures(own))["omen_reconcile_replayed_signals_total"] < brought:  # noqa: ASYNC110 - a metric tells nobody
            await asyncio.sleep(0.05)
    return series


@pytest.mark.parametrize("count", EMITS)
@pytest.mark.timeout(600)
async def test_rounds_under_load_bring_what_was_lost_and_nothing_else(tmp_path: Path, count: int) -> None:
    """
    200 signals a second, one in a hundred lost or left unanswered on the hot path, rounds without a pause meanwhile:
    all of them arrive, the reconciler brings exactly those that were lost, and never one that was only on its way.
    """
    async with far_side(tmp_path / "riskcast.db") as far:
        door = Unsteady(inner=far.door.inner)
        far.server.host(INGEST, door)
        to_riskcast = f"--riskcast={far.server.address}"
        async with (
            omen(tmp_path, to_riskcast, *ONCE) as (_, near),
            reconciler(tmp_path, to_riskcast, "--interval=0.05") as (own, _),
        ):
            left = await emitted(near, count)
            await arrived(far, count)
            assert left == door.lost | door.unanswered
            assert min(len(door.lost), len(door.unanswered)) > 0, "nothing was hit"
            brought = {name for name, origin in far.origins().items() if origin == "reconcile"}
            assert brought == door.lost
            series = await counted(own, len(brought))
            assert series["omen_reconcile_replayed_signals_total"] == len(brought)
            assert series["omen_reconcile_false_gaps_total"] == 0
            made = sum(value for name, value in series.items() if name.startswith("omen_reconcile_runs_total"))
            assert made > count / EMITS_PER_S

"""
Everything a reconciler works on, in one process: a ledger behind its service, RiskCast, the state, the rounds.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omen.v1.signal_pb2 import SignalEvent
from omen_client import Duplicate, Ingested
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.comparing import Comparing
from reconciler.console import lines
from reconciler.parking import Parking
from reconciler.reconcile import Reconcile, Wish
from reconciler.replay import Rate, Replayer
from reconciler.rounds import Rounds, Target
from reconciler.state import State, open_state
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH, IngestBatchItem
from tests.ledgers import DAY, NOON, TOMORROW, Clock, Served, entries, served
from tests.reconciler.far_side import FarSide, far_side

__all__ = ["DAY", "NOON", "TOMORROW", "World", "world"]
HOT_PATH_MAX = 500


@dataclass
class World:
    """
    Both sides, and a reconciler between them.
    """

    place: Path
    near: Served
    far: FarSide
    state: State
    clock: Clock
    settled: dict[str, int] = field(default_factory=dict)
    rate: Rate = field(default_factory=lambda: Rate(1_000_000))
    lease_s: float = 60.0
    frames: list[pb.RunReconcileResponse] = field(default_factory=list)

    def __post_init__(self) -> None:
        """
        Start the reconciler.
        """
        self.restart()

    def restart(self) -> None:
        """
        Start another reconciler, who knows only what the state kept.
        """
        self.comparing = Comparing(self.near.client, self.far.client)
        self.replayer = Replayer(self.near.client, self.far.client, self.rate, at_once, no_pause)
        self.parking = Parking(self.state.parked, self.replayer, self.clock)
        self.rounds = self.another()

    def another(self) -> Rounds:
        """
        Return rounds of a reconciler beside the first one.
        """
        reconcile = Reconcile(
            self.near.client,
            self.comparing,
            self.replayer,
            runs=self.state.runs,
            parked=self.state.parked,
            now=self.clock,
        )
        return Rounds(self.near.client, reconcile, self.state, lease_s=self.lease_s, now=self.clock)

    async def append(
        self, numbers: Iterable[int], emitted_at: datetime = NOON, *, hot: Iterable[int] | None = None, title: str = ""
    ) -> list[SignalEvent]:
        """
        Append signals to the ledger, and push those in *hot* (all of them, if not given) to RiskCast.
        """
        chosen = list(numbers)
        for at in range(0, len(chosen), HOT_PATH_MAX):
            await self.near.ledger.append(entries(chosen[at : at + HOT_PATH_MAX], emitted_at, title))
        names = {f"OMEN-TEST{number:06d}" for number in chosen}
        pushed = names if hot is None else {f"OMEN-TEST{number:06d}" for number in hot}
        found = []
        for name in [each for each in self.near.ledger.names() if each.startswith(emitted_at.date().isoformat())]:
            found += [event for event in await self.records(name) if event.signal_id in names]
        await self.push([event for event in found if event.signal_id in pushed])
        return found

    async def push(self, events: Sequence[SignalEvent]) -> list[Ingested | Duplicate]:
        """
        Bring signals to RiskCast on the hot path.
        """
        outcomes: list[Ingested | Duplicate] = []
        for at in range(0, len(events), HOT_PATH_MAX):
            items = [IngestBatchItem(signal=event) for event in events[at : at + HOT_PATH_MAX]]
            for outcome in await self.far.client.ingest_batch(items, origin=INGEST_ORIGIN_HOT_PATH):
                assert isinstance(outcome, Ingested | Duplicate), outcome
                outcomes.append(outcome)
        return outcomes

    async def records(self, partition: str = DAY) -> list[SignalEvent]:
        """
        Return what can be read of a partition.
        """
        async with aclosing(self.near.client.read_partition(partition)) as items:
            return [item async for item in items if isinstance(item, SignalEvent)]

    async def seal(self, partition: str = DAY) -> None:
        """
        Let the day be over, and close it.
        """
        self.clock.now = max(self.clock.now, TOMORROW)
        await self.near.ledger.seal(partition, force=True)

    async def round(self, partition: str = "", since_days: int = 0, **wish: Any) -> list[pb.ReconcileResult]:
        """
        Make one round and return its results.
        """
        self.frames = []
        await self.rounds.make(Target(partition, since_days), Wish(**wish), self.heard)
        return [frame.result for frame in self.frames if frame.HasField("result")]

    async def one(self, partition: str = DAY, **wish: Any) -> pb.ReconcileResult:
        """
        Reconcile one partition and return its result.
        """
        (result,) = await self.round(partition, **wish)
        return result

    def heard(self, frame: pb.RunReconcileResponse) -> None:
        """
        Keep a frame as it is now.
        """
        copy = pb.RunReconcileResponse()
        copy.CopyFrom(frame)
        self.frames.append(copy)

    @property
    def lines(self) -> list[str]:
        """
        What the console says of the last round.
        """
        return [line for frame in self.frames if frame.HasField("result") for line in lines(frame.result)]

    def settled_of(self, partition: str) -> tuple[int, int]:
        """
        Return how far the hot path is.
        """
        durable = self.near.ledger.durable_index(partition)
        return self.settled.get(partition, durable), self.near.ledger.durable_offset


async def at_once() -> None:
    """
    Wait for nobody.
    """


async def no_pause(_seconds: float) -> None:
    """
    Go on at once.
    """


@asynccontextmanager
async def world(place: Path, rate: Rate | None = None, **limits: Any) -> AsyncIterator[World]:
    """
    Open both sides in *place*, with a state between them.
    """
    clock = Clock()
    made: list[World] = []

    def settled(name: str) -> tuple[int, int]:
        return made[0].settled_of(name)

    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(served(place / "ledger", clock, settled=settled, **limits))
        far = await stack.enter_async_context(far_side(place / "riskcast.db"))
        state = await stack.enter_async_context(open_state(f"sqlite:///{place}/reconcile.db"))
        made.append(World(place, near, far, state, clock))
        if rate is not None:
            made[0].rate = rate
            made[0].restart()
        yield made[0]


def status(result: pb.ReconcileResult) -> tuple[str, str]:
    """
    Return how a run ended, in words.
    """
    return pb.ReconcileStatus.Name(result.status).removeprefix("RECONCILE_STATUS_"), result.reason

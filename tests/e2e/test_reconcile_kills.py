"""
Rounds in which somebody is killed at one step or another: the reconciler, RiskCast or OMEN.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_client import OmenClient, RiskCastClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH, IngestBatchItem
from tests.e2e.nest import Nest, nest
from tests.e2e.pair import PUSHES_NOTHING, ready
from tests.e2e.reconciling import flags_of

HISTORIES = [20, pytest.param(100, marks=pytest.mark.prove)]
SEED = 20_260_128
FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE_S = 60
# Going on without the server costs a second, for which nobody connects again.
DEEDS = ("wait", "wait", "wait", "tell")
# Only a day that is over has these.
LAST = ["before ConfirmReconciled", "after ConfirmReconciled"]
STEPS = [
    "before IngestBatch",
    "after IngestBatch",
    "before save",
    "after save",
    "before forget",
    "after forget",
    "before hold",
    "after hold",
    "before release",
    "after release",
    "before GetWatermark",
    "before GetCoverage",
    "before GetFingerprint",
    "before GetPartition",
    "before GetHotPath",
    "before ReadPartition",
    "before rate",
    "before paused",
    "before get",
    "before of",
    "before history",
    "before count",
]


@dataclass
class Stage:
    """
    Three programs to be killed, and clients of those that serve.
    """

    place: Path
    omen: Nest
    riskcast: Nest
    reconciler: Nest
    near: OmenClient
    far: RiskCastClient
    lives: int = 0
    deaths: set[str] = field(default_factory=set)
    # One after the other, so that few histories come to every step: of a day that is open, and of one that is over.
    steps: tuple[Iterator[str], Iterator[str]] = field(default_factory=lambda: (cycle(STEPS), cycle(LAST + STEPS)))

    async def serve(self, who: Nest) -> None:
        """
        Start a server.
        """
        if who is self.omen:
            flags = [f"--data-dir={self.place}", f"--listen=unix:{self.place}/omen.sock", PUSHES_NOTHING]
        else:
            flags = [f"--store=sqlite:///{self.place}/riskcast.db", f"--listen=unix:{self.place}/riskcast.sock"]
        await who.serve(*flags, "--metrics-port=0")

    async def round(self, day: str, **how: Any) -> None:
        """
        Begin a round over a day. It is so late that a lease of the one before has run out.
        """
        self.lives += 1
        line = ("--partition", day, "--include-open", f"--lease-s={LEASE_S}", "--replay-rate=1000000")
        ahead_s = 2.0 * LEASE_S * self.lives
        await self.reconciler.begin("run", *flags_of(self.place), *line, ahead_s=ahead_s, **how)

    async def came(self) -> bool:
        """
        Tell whether a life came to its step; else it has ended.
        """
        while "ended" not in (told := await self.reconciler.told()):
            if "step" in told:
                return True
        return False


@asynccontextmanager
async def stage(place: Path) -> AsyncIterator[Stage]:
    """
    Have OMEN and RiskCast serve in *place*, and a reconciler ready.
    """
    async with AsyncExitStack() as stack:
        modules = ("omen_server.__main__", "riskcast_server.__main__", "reconciler.__main__")
        omen, riskcast, reconciler = [await stack.enter_async_context(nest(module, place)) for module in modules]
        near = await stack.enter_async_context(OmenClient(f"unix:{place}/omen.sock"))
        far = await stack.enter_async_context(RiskCastClient(f"unix:{place}/riskcast.sock"))
        made = Stage(place, omen, riskcast, reconciler, near, far)
        await made.serve(made.omen)
        await made.serve(made.riskcast)
        yield made


class History:
    """
    One day, and what is done to whoever looks after it.
    """

    def __init__(self, at: Stage, number: int) -> None:
        self._at = at
        self._number = number
        self._chance = Random(SEED + number)
        self._noon = FIRST_DAY + timedelta(days=number)
        self._next = 1
        self.day = self._noon.date().isoformat()
        self.acks: dict[str, str] = {}
        self.told = [f"seed {SEED + number}"]

    async def run(self) -> None:
        """
        Lose signals and kill, three times over; then one round that nobody disturbs brings all that is still missing.
        """
        server = self._at.omen if self._number % 2 else self._at.riskcast
        server = self._at.omen if self._number % 2 else self._at.riskcast
        victims = [self._at.reconciler, self._at.reconciler]
        victims.insert(self._chance.choice((0, 1, 1, 2)), server)
        for left, victim in zip((2, 1, 0), victims, strict=True):
            await self._lose()
            if not left:
                await self._seal()
            if victim is server:
                await self._kill(server, self._chance.choice(STEPS + LAST), self._chance.choice(DEEDS))
            else:
                await self._die(next(self._at.steps[left == 0]))
            await self._hold()
        await self._at.round(self.day)
        code = await self._at.reconciler.ended()
        assert code == 0, self._at.reconciler.said
        ledger = await self._hold()
        assert sorted(self.acks) == sorted(each.signal_id for each in ledger), "RiskCast has not what the ledger has"

    async def _lose(self) -> None:
        """
        Emit signals of which the hot path brings some.
        """
        count = self._chance.randint(30, 180)
        items = [ready(self._number * 10_000 + number) for number in range(self._next, self._next + count)]
        self._next += count
        for item in items:
            item.emitted_at.FromDatetime(self._noon)
        brought: list[IngestBatchItem] = []
        for outcome in await self._at.near.emit_all(items, delivery=pb.DELIVERY_LEDGER):
            assert not isinstance(outcome, Exception), outcome
            if self._chance.random() < 1 / 3:
                brought.append(IngestBatchItem(signal=outcome.event))
        if brought:
            await self._at.far.ingest_batch(brought, origin=INGEST_ORIGIN_HOT_PATH)
        self.told.append(f"lost {count - len(brought)} of {count}")
        await self._hold()

    async def _seal(self) -> None:
        """
        Let the day be over.
        """
        await self._at.near.seal(self.day, force=True)
        self.told.append("sealed")

    async def _die(self, step: str) -> None:
        """
        Kill the reconciler at a step: the first such one, while there is a step that nobody died at.
        """
        nth = self._chance.randint(1, 2) if step in self._at.deaths else 1
        await self._at.round(self.day, step=step, nth=nth, deed="die")
        came = await self._at.came()
        self.told.append(f"the reconciler dies {step}, {nth}{'' if came else ': it never came there'}")
        if came:
            self._at.deaths.add(step)
            assert await self._at.reconciler.ended() == -signal.SIGKILL

    async def _kill(self, victim: Nest, step: str, deed: str) -> None:
        """
        Kill a server when the reconciler comes to a step: while it waits until the server is back, or while it goes on.
        """
        await self._at.round(self.day, step=step, nth=1, deed=deed)
        came = await self._at.came()
        who = "OMEN" if victim is self._at.omen else "RiskCast"
        self.told.append(f"{who} is killed {step}, {deed}{'' if came else ': it never came there'}")
        await victim.kill()
        await self._at.serve(victim)
        if came:
            if deed == "wait":
                self._at.reconciler.go_on()
            code = await self._at.reconciler.ended()
            assert code in (0, 1, 4), self._at.reconciler.said

    async def _hold(self) -> list[SignalEvent]:
        """
        Hold that every signal is stored once and every ack is the first one; return what the ledger has.
        """
        stored = [each async for each in self._at.far.list_processed(partition=self.day, page_size=1000)]
        acks = {each.signal_id: each.ack_id for each in stored}
        assert len(acks) == len(stored), "a signal is stored twice"
        assert self.acks.items() <= acks.items(), "an ack has changed, or is gone"
        self.acks = acks
        return [each async for each in self._at.near.read_partition(self.day) if isinstance(each, SignalEvent)]


@pytest.mark.parametrize("histories", HISTORIES)
@pytest.mark.timeout(1200)
async def test_kill_nine_at_every_step_of_a_round(tmp_path: Path, histories: int) -> None:
    """
    Whoever is killed wherever in a round, the reconciler, RiskCast or OMEN: the next round that is left alone ends it,
    each signal is stored once under its first ack, and nothing is missing.
    """
    async with stage(tmp_path) as at:
        for number in range(histories):
            history = History(at, number)
            try:
                await history.run()
            except BaseException as error:
                error.add_note("\n".join([f"history {number}", *history.told]))
                raise
        assert at.deaths == {*STEPS, *LAST}

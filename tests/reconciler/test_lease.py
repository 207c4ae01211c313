"""
The lease while a round is under way: who has lost it stops.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.reconcile import Wish
from reconciler.replay import Rate
from reconciler.rounds import Target
from reconciler.state import Control, Lease
from reconciler.state.errors import StateUnavailable
from tests.reconciler.world import DAY, World, status, world


async def interrupted(at: World, interrupt: Callable[[], Awaitable[object]]) -> pb.ReconcileResult:
    """
    Make a slow round, and do something when it has brought a little.
    """
    told: list[pb.ReconcileResult] = []
    asked = asyncio.Event()

    def tell(frame: pb.RunReconcileResponse) -> None:
        if frame.HasField("result"):
            told.append(frame.result)
        if frame.progress.replayed >= 100:
            asked.set()

    making = asyncio.create_task(at.rounds.make(Target(DAY), Wish(), tell))
    async with asyncio.timeout(20):
        await asked.wait()
        await interrupt()
        await making
    (result,) = told
    return result


async def prepared(at: World) -> None:
    """
    Have much to bring, slowly, under a lease that is renewed often.
    """
    await at.append(range(1, 501), hot=[])
    await at.seal()
    at.rate = Rate(500)
    at.lease_s = 0.03
    at.restart()


async def test_a_lease_that_another_has_taken_ends_the_round(tmp_path: Path) -> None:
    """
    Whoever finds at a renewal that the lease is another's sends nothing more; once it is free again, a round is whole.
    """
    async with world(tmp_path) as at:
        await prepared(at)

        async def steal() -> None:
            at.clock.now += timedelta(minutes=1)
            assert await at.state.control.hold("another", 60.0, at.clock.now) is not None

        result = await interrupted(at, steal)
        assert status(result) == ("PARTIAL", "lease_lost")
        assert 100 <= result.replayed_count < 500
        at.clock.now += timedelta(minutes=2)
        at.rate.signals_per_s = 1e9
        assert status(await at.one()) == ("COMPLETED", "")


@dataclass
class Forgetful:
    """
    Stands for a state that fails: once told so, no lease can be held in it.
    """

    control: Control
    failing: bool = False

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        Hold the lease, or fail.
        """
        if self.failing:
            raise StateUnavailable("the disk is gone")
        return await self.control.hold(owner, ttl_s, now)

    def __getattr__(self, name: str) -> Any:
        """
        Leave the rest to the state.
        """
        return getattr(self.control, name)


async def test_a_lease_that_cannot_be_renewed_ends_the_round(tmp_path: Path) -> None:
    """
    Whoever cannot renew the lease does not know whether it is another's by now, and sends nothing more.
    """
    async with world(tmp_path) as at:
        forgetful = Forgetful(at.state.control)
        at.state = replace(at.state, control=forgetful)
        await prepared(at)

        async def fail() -> None:
            forgetful.failing = True

        result = await interrupted(at, fail)
        assert status(result) == ("PARTIAL", "lease_lost")
        assert 100 <= result.replayed_count < 500


@pytest.mark.parametrize("moment", ["asking", "working", "letting go"])
async def test_who_is_cancelled_keeps_nobody_waiting(tmp_path: Path, moment: str) -> None:
    """
    A round that is cancelled at any moment, also twice, leaves the lease free for another reconciler.
    """
    async with world(tmp_path) as at:
        watched = Watched(at.state.control)
        at.state = replace(at.state, control=watched)
        await prepared(at)
        working = asyncio.Event()

        def tell(frame: pb.RunReconcileResponse) -> None:
            if frame.progress.replayed:
                working.set()

        making = asyncio.create_task(at.rounds.make(Target(DAY), Wish(), tell))
        async with asyncio.timeout(20):
            await (watched.asked if moment == "asking" else working).wait()
            making.cancel()
            if moment == "letting go":
                await watched.left.wait()
                making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
        assert await at.state.control.hold("another", 60.0, at.clock.now) is not None


@dataclass
class Watched:
    """
    A state that tells when the lease is asked for and when it is given back.
    """

    control: Control
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        Tell, and hold the lease.
        """
        self.asked.set()
        return await self.control.hold(owner, ttl_s, now)

    async def release(self, owner: str) -> None:
        """
        Tell, and give it back.
        """
        self.left.set()
        await self.control.release(owner)

    def __getattr__(self, name: str) -> Any:
        """
        Leave the rest to the state.
        """
        return getattr(self.control, name)


async def test_rounds_of_one_reconciler_follow_each_other(tmp_path: Path) -> None:
    """
    Two rounds asked for at once have one lease between them: the second begins when the first has ended.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[])
        await at.seal()
        told: list[tuple[int, str]] = []

        def tell(which: int, frame: pb.RunReconcileResponse) -> None:
            told.append((which, frame.WhichOneof("frame") or ""))

        await asyncio.gather(*(at.rounds.make(Target(DAY), Wish(), partial(tell, which)) for which in (1, 2)))
        assert [which for which, _ in told] == sorted(which for which, _ in told)
        assert [name for _, name in told].count("summary") == 2

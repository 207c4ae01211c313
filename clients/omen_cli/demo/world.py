"""
Real processes in a directory of their own: OMEN, RiskCast, and a reconciler that runs when it is told to.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_cli.bench import servers
from omen_cli.output import say
from omen_cli.running.child import Child, Plan
from omen_cli.running.plans import own_environment
from omen_cli.running.process import PIPE, started
from omen_client import OmenClient, RiskCastClient
from riskcast.v1.inventory_service_pb2 import ProcessedSignal

RECONCILE_TIMEOUT_S = 60.0
# Calls to a RiskCast that is away end soon, and the breaker is open after the first of them.
IMPATIENT = ("--push-attempts-max=2", "--push-pause-first-s=0.01", "--breaker-failures-max=1", "--breaker-open-s=600")


@dataclass(frozen=True, slots=True)
class Round:
    """
    How a round of the reconciler ended, and what it said.
    """

    code: int
    lines: Sequence[str]
    errors: str


class World:
    """
    The servers of one directory. Whatever is killed comes back on the address it had.
    """

    def __init__(self, place: Path, riskcast: str = "") -> None:
        self.place = place
        far = far_plan(place)
        self._riskcast = Child(far, say)
        self._omen = Child(near_plan(place, riskcast or far.address), say)

    @property
    def omen_address(self) -> str:
        """
        Where OMEN serves.
        """
        return self._omen.plan.address

    @property
    def riskcast_address(self) -> str:
        """
        Where RiskCast serves.
        """
        return self._riskcast.plan.address

    @property
    def omen_pid(self) -> int:
        """
        OMEN's process.
        """
        return self._omen.pid

    async def start_omen(self) -> None:
        """
        Start OMEN, or start it again.
        """
        await self._omen.start()

    async def start_riskcast(self) -> None:
        """
        Start RiskCast, or start it again.
        """
        await self._riskcast.start()

    async def kill_omen(self) -> None:
        """
        End OMEN with SIGKILL: it gets no chance to finish anything.
        """
        await self._omen.kill(hold=False)

    async def kill_riskcast(self) -> None:
        """
        The same for RiskCast.
        """
        await self._riskcast.kill(hold=False)

    async def stop(self) -> None:
        """
        Stop what runs; whoever does not wait for that leaves nothing running all the same.
        """
        try:
            await asyncio.gather(self._omen.stop(), self._riskcast.stop())
        finally:
            self._omen.end()
            self._riskcast.end()

    def omen(self) -> OmenClient:
        """
        Return a client of OMEN; a new one after a kill, as the old one's channel waits before it tries again.
        """
        return OmenClient(self.omen_address, timeout_s=30)

    def riskcast(self) -> RiskCastClient:
        """
        Return a client of RiskCast.
        """
        return RiskCastClient(self.riskcast_address, timeout_s=30)

    async def records(self, partition: str) -> list[SignalEvent]:
        """
        Return what OMEN's ledger has of a partition, each record checked; ValueError where some cannot be read.
        """
        found: list[SignalEvent] = []
        async with self.omen() as near, aclosing(near.read_partition(partition, validate=True)) as items:
            async for each in items:
                if isinstance(each, LedgerGap):
                    raise OSError(f"positions {each.first_index} to {each.last_index} of {partition} cannot be read")
                found.append(each)
        return found

    async def stored(self) -> dict[str, ProcessedSignal]:
        """
        Return what RiskCast has, by id.
        """
        async with self.riskcast() as far:
            return {each.signal_id: each async for each in far.list_processed(page_size=500)}

    async def reconcile(self, *flags: str) -> Round:
        """
        Have the reconciler make one round, as a cron job would.
        """
        process = started(
            *("reconciler", "run", "--log-level=warning", "--metrics-port=0"),
            *(f"--omen={self.omen_address}", f"--riskcast={self.riskcast_address}"),
            f"--state=sqlite:///{self.place}/reconcile.db",
            *flags,
            env=own_environment(),
            stdout=PIPE,
            stderr=PIPE,
            own_session=True,
        )
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                out, err = await process.said()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Round(process.returncode or 0, out.decode().splitlines(), err.decode(errors="replace"))


@asynccontextmanager
async def running(place: Path, *, riskcast: str = "") -> AsyncIterator[World]:
    """
    Run OMEN on a directory while the block runs, pushing to *riskcast*, or to a RiskCast of its own.
    """
    world = World(place, riskcast)
    try:
        starts = [world.start_omen()] if riskcast else [world.start_riskcast(), world.start_omen()]
        for failure in await asyncio.gather(*starts, return_exceptions=True):
            if failure is not None:
                raise failure
        yield world
    finally:
        await world.stop()


def acks(stored: Mapping[str, ProcessedSignal]) -> dict[str, str]:
    """
    Return each signal's ack.
    """
    return {name: each.ack_id for name, each in stored.items()}


def near_plan(place: Path, riskcast: str) -> Plan:
    """
    Return how to run OMEN here, whatever the environment says about another one.
    """
    plan = servers.omen(place, f"--riskcast={riskcast}", "--ledger-ballast-bytes=65536", *IMPATIENT)
    return replace(plan, environment=own_environment())


def far_plan(place: Path) -> Plan:
    """
    Return how to run RiskCast here, in the same way.
    """
    return replace(servers.riskcast(place), environment=own_environment())

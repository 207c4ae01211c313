"""
One soak: what runs, what is done to it, and the report.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.soak.callers import Bringer, Storm, Subscriber
from bench.soak.keys import Keys
from bench.soak.process import Process
from bench.soak.trend import grown, measured
from bench.soak.verdict import Held, bugs, held
from omen_client import OmenClient, ReconcileClient, RiskCastClient

LOOK_EVERY_S = 1.0
SETTLE_TIMEOUT_S = 600.0
# Restarts end before the last part, so that one of RiskCast's processes lives long enough to be measured.
CALM = 0.4


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How long and how much.
    """

    place: Path
    seconds: float
    rate: float
    callers: int
    subscribers: int
    fill: int

    def part_s(self, parts: int, most_s: float) -> float:
        """
        Return one of so many parts of the time, and no more than *most_s*.
        """
        return min(most_s, self.seconds / parts)


class World:
    """
    The servers and their users.
    """

    def __init__(self, plan: Plan) -> None:
        place = plan.place
        self.keys = Keys(place)
        self.riskcast = Process(
            "riskcast", "riskcast_server", [f"--store=sqlite:///{place}/riskcast.db"], place, ["riskcast.db"]
        )
        self.omen = Process(
            "omen",
            "omen_server",
            [f"--data-dir={place}", f"--riskcast={self.riskcast.address}", f"--api-keys-file={self.keys.file}"],
            place,
            ["index.db", "desk.db"],
        )
        self.reconciler = Process(
            "reconciler",
            "reconciler",
            [
                f"--omen={self.omen.address}",
                f"--riskcast={self.riskcast.address}",
                f"--omen-api-key-file={self.keys.reconciler_file}",
                f"--state=sqlite:///{place}/reconcile.db",
                "--interval=3",
            ],
            place,
            ["reconcile.db"],
        )
        self.servers = [self.riskcast, self.omen, self.reconciler]
        self.storm = Storm()
        self.bringers = [
            Bringer(number, self.omen.address, self.keys, plan.rate / plan.callers) for number in range(plan.callers)
        ]
        self.subscribers = [
            Subscriber(number, self.omen.address, self.keys, self.storm) for number in range(plan.subscribers)
        ]
        self.users: list[Bringer | Subscriber] = [*self.bringers, *self.subscribers]
        self.kills = 0
        self._plan = plan

    async def restart_riskcast(self) -> None:
        """
        End RiskCast, every other time without a word, and start it where it was.
        """
        await self.riskcast.stop(signal.SIGTERM if self.kills % 2 else signal.SIGKILL)
        self.kills += 1
        await asyncio.sleep(self._plan.part_s(20, most_s=3.0))
        await self.riskcast.start()

    async def rotate_keys(self) -> None:
        """
        Change the key that callers use.
        """
        await self.keys.rotate(self.omen.address, move_s=1.0)

    async def break_connections(self) -> None:
        """
        Let every subscriber come anew.
        """
        self.storm.rage()

    async def look(self) -> None:
        """
        Sample every process.
        """
        at_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(server.look(at_s) for server in self.servers))


async def run(plan: Plan) -> dict[str, Any]:
    """
    Run one soak and return its report; `problems` is empty when all is well.
    """
    world = World(plan)
    async with AsyncExitStack() as stack:
        for server in world.servers:
            await server.start()
            stack.push_async_callback(server.stop)
        # What is full before measuring cannot grow: windows of records and outcomes, the index's 64 MiB of pages.
        await asyncio.gather(*(each.fill(plan.fill // plan.callers) for each in world.bringers))
        began_s = asyncio.get_running_loop().time()
        await live(world, plan)
        compared = await compare(world)
        codes = {server.name: await server.stop() for server in reversed(world.servers)}
    return report(world, plan, compared, codes, began_s)


async def live(world: World, plan: Plan) -> None:
    """
    Let everybody use the servers, and do to them what is planned, for the time that is planned.
    """
    enough, complete = asyncio.Event(), asyncio.Event()
    async with regularly(LOOK_EVERY_S, world.look), asyncio.TaskGroup() as readers:
        for subscriber in world.subscribers:
            readers.create_task(subscriber.run(complete))
        try:
            async with asyncio.TaskGroup() as writers:
                for bringer in world.bringers:
                    writers.create_task(bringer.run(enough))
                try:
                    await harass(world, plan)
                finally:
                    enough.set()
        finally:
            complete.set()  # When nothing is written any more: whoever reads to the end reads all.


async def harass(world: World, plan: Plan) -> None:
    """
    Do to the servers what is planned.
    """
    async with (
        regularly(plan.part_s(4, most_s=30.0), world.break_connections),
        regularly(plan.part_s(4, most_s=60.0), world.rotate_keys),
    ):
        async with regularly(plan.part_s(5, most_s=60.0), world.restart_riskcast):
            await asyncio.sleep(plan.seconds * (1 - CALM))
        if not world.riskcast.runs:
            await world.riskcast.start()
        await asyncio.sleep(plan.seconds * CALM)


async def compare(world: World) -> Held:
    """
    Return what both sides hold, once the reconciler says that nothing is missing.
    """
    key = world.keys.reconciler_file.read_text()
    async with (
        asyncio.timeout(SETTLE_TIMEOUT_S),
        OmenClient(world.omen.address, api_key=key) as omen,
        RiskCastClient(world.riskcast.address) as riskcast,
        ReconcileClient(world.reconciler.address) as reconciler,
    ):
        return await held(omen, riskcast, reconciler)


def report(world: World, plan: Plan, compared: Held, codes: dict[str, int], began_s: float) -> dict[str, Any]:
    """
    Return what was done, how the figures moved, and what is wrong.
    """
    acknowledged = set[str]().union(*(each.acknowledged for each in world.bringers))
    last = sum(compared.ledger.values())
    problems = compared.problems(acknowledged)
    problems += [text for user in world.users for text in user.wrong]
    problems += [
        f"subscriber {at} ended at {each.offset} of {last}"
        for at, each in enumerate(world.subscribers)
        if each.offset != last
    ]
    problems += [f"{name} ended with {code}" for name, code in codes.items() if code]
    trends = {}
    for server in world.servers:
        samples = [(each.at_s - began_s, each.pid, each.figures) for each in server.samples]
        (plan.place / f"{server.name}.samples.json").write_text(json.dumps(samples))
        trends[server.name] = measured(samples, plan.seconds)
        problems += grown(server.name, trends[server.name])
        problems += bugs(server.name, server.lines())
    counts = {
        "seconds": plan.seconds,
        "acknowledged": len(acknowledged),
        "in_the_ledger": len(compared.ledger),
        "at_riskcast": len(compared.riskcast),
        "told_again": sum(each.repeated for each in world.bringers),
        "failed_calls": sum(each.failures for each in world.bringers),
        "connections_of_subscribers": sum(each.connections for each in world.subscribers),
        "refused_subscribers": sum(each.refused for each in world.subscribers),
        "storms": world.storm.count,
        "key_rotations": world.keys.rotations,
        "restarts_of_riskcast": world.riskcast.starts - 1,
        "last_rounds": compared.rounds,
    }
    shown = {server: {name: asdict(trend) for name, trend in each.items()} for server, each in trends.items()}
    return {"counts": counts, "trends": shown, "problems": problems, "place": str(plan.place)}


@asynccontextmanager
async def regularly(every_s: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """
    Do *work* every so often while the block runs; what it raises is raised when the block ends.
    """

    async def go() -> None:
        while True:
            await asyncio.sleep(every_s)
            await work()

    task = asyncio.create_task(go())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended

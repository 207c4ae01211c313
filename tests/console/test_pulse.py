"""
The pulse: one reading for all who look, never older than it may be, and dear to no server.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1 import operations_service_pb2 as operations_pb
from omen_console.glance import judged
from omen_console.pulse import Day, Pulse
from omen_console.upstream import Answer, Trouble, open_upstream
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb
from tests.console.test_trouble import NOBODY


class Far:
    """
    All three servers as a test says: what they count, and how long a comparison takes on the test's own clock.
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.appended = 0
        self.comparing_s = 0.0
        self.calls: list[str] = []
        self.before: Callable[[], Awaitable[object]] | None = None
        self.counting: asyncio.Event | None = None

    async def stats(self) -> operations_pb.GetStatsResponse:
        """
        Count what was appended.
        """
        self.calls.append("stats")
        if self.before is not None:
            await self.before()
        return operations_pb.GetStatsResponse(signals_appended=self.appended)

    async def coverage(self, *_: Any, **__: Any) -> inventory_pb.GetCoverageResponse:
        """
        Hold all but three.
        """
        self.calls.append("coverage")
        if self.counting is not None:
            await self.counting.wait()
        self.now_s += self.comparing_s
        return inventory_pb.GetCoverageResponse(count=7)


async def answer(value: Any) -> Any:
    """
    Return *value*.
    """
    return value


@asynccontextmanager
async def pulse_of(far: Far) -> AsyncIterator[Pulse]:
    """
    Make a pulse of *far*, on its clock.
    """
    from omen_console.settings import ConsoleSettings  # noqa: PLC0415 - slow to import

    page = ledger_pb.ListPartitionsResponse(partitions=[ledger_pb.Partition(partition="2026-01-28")])
    async with open_upstream(ConsoleSettings(**NOBODY)) as upstream:
        for client in (upstream.omen, upstream.riskcast, upstream.reconciler):
            await client.close()
        stubs: Any = upstream
        stubs.omen = SimpleNamespace(
            operations=SimpleNamespace(
                stats=far.stats, hot_path=lambda: answer(operations_pb.GetHotPathResponse(queue_length=1))
            ),
            partitions_page=lambda _: answer(page),
            watermark=lambda _: answer(ledger_pb.GetWatermarkResponse(durable_highwater=10)),
            close=lambda: answer(None),
        )
        stubs.riskcast = SimpleNamespace(
            stats=lambda: answer(inventory_pb.GetIngestStatsResponse()), coverage=far.coverage
        )
        stubs.reconciler = SimpleNamespace(overview=lambda: answer(reconcile_pb.ListPartitionStatesResponse()))
        yield Pulse(upstream, lambda: far.now_s)


async def test_many_pages_share_a_reading() -> None:
    """
    A hundred pages that look at once ask the servers once; half a second later once again.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        found = await asyncio.gather(*(pulse.read() for _ in range(100)))
        assert len({id(each) for each in found}) == 1
        assert far.calls.count("stats") == 1
        far.now_s += 0.5
        assert await pulse.read() is not found[0]
        assert far.calls.count("stats") == 2


async def test_after_something_was_done_it_is_read_anew() -> None:
    """
    Whoever just changed something sees it, however fresh the last reading is.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        first = await pulse.read()
        far.now_s += 0.01
        assert await pulse.read() is first
        assert await pulse.read(anew=True) is not first
        assert far.calls.count("coverage") == 2


async def test_a_hung_server_costs_its_deadline_once() -> None:
    """
    Pages that waited while a reading took long are given that one, and do not wait in a row.
    """
    far = Far()
    go_on = asyncio.Event()
    far.before = go_on.wait
    async with pulse_of(far) as pulse:
        waiting = [asyncio.create_task(pulse.read()) for _ in range(20)]
        async with asyncio.timeout(5):
            while not far.calls:  # noqa: ASYNC110 - the far side is asked some turns of the loop later
                await asyncio.sleep(0)
        far.now_s += 3.0
        go_on.set()
        assert len({id(each) for each in await asyncio.gather(*waiting)}) == 1
        assert far.calls.count("stats") == 1


async def test_no_page_waits_for_a_long_comparison() -> None:
    """
    While RiskCast counts, pages say so or show the day as it was; who changed something waits for the new count.
    """
    far = Far()
    far.counting = asyncio.Event()
    async with asyncio.timeout(5), pulse_of(far) as pulse:
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.ledger, day.stored.value, judged(day, day.stored.trouble)) == (
            10, None, ("plain", "RiskCast is counting what it holds."),
        )  # fmt: skip
        far.now_s += 0.5
        assert (await pulse.read()).day.value == day
        far.counting.set()
        far.now_s += 0.5
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.stored.value, far.calls.count("coverage")) == (7, 1)
        far.counting = asyncio.Event()
        far.now_s += 6.0
        assert (await pulse.read()).day.value == day
        far.now_s += 0.1
        waiting = asyncio.create_task(pulse.read(anew=True))
        far.counting.set()
        await waiting
        assert far.calls.count("coverage") == 3


async def test_a_dear_comparison_is_kept_a_while() -> None:
    """
    A comparison that took a fifth of a second is not made again for two seconds; both of its counts are of one moment.
    """
    far = Far()
    far.comparing_s = 0.2
    async with pulse_of(far) as pulse:
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.ledger, day.stored.value, day.missing) == (10, 7, 3)
        for _ in range(3):
            far.now_s += 0.5
            assert (await pulse.read()).day.value is day
        assert far.calls.count("stats") == 4
        far.now_s += 1.0
        assert (await pulse.read()).day.value is not day
        assert far.calls.count("coverage") == 2
        pulse.expire()
        await pulse.read()
        assert far.calls.count("coverage") == 3


async def test_the_rate_is_of_the_last_seconds() -> None:
    """
    The rate comes from two looks at the counter, and begins anew when OMEN does.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        assert (await pulse.read()).per_second is None
        far.now_s, far.appended = far.now_s + 2.0, 400
        assert (await pulse.read()).per_second == 200.0
        far.now_s, far.appended = far.now_s + 60.0, 400
        assert (await pulse.read()).per_second is None
        far.now_s, far.appended = far.now_s + 1.0, 5
        assert (await pulse.read()).per_second is None


async def test_what_riskcast_does_not_answer_is_not_called_equal() -> None:
    """
    Both counts were equal a moment ago; now that RiskCast does not answer nobody says that nothing is missing.
    """
    trouble = Trouble("riskcast", "slow", "DEADLINE_EXCEEDED", "", "")
    day = Day(
        "2026-01-28", is_today=True, ledger=7, is_sealed=False, stored=Answer(7, datetime(2026, 1, 28, tzinfo=UTC))
    )
    assert judged(day, None) == ("good", "Equal: nothing is missing.")
    assert judged(day, trouble) == ("warn", "Ledger-only while RiskCast is slow. Reconcile will recover.")
    less = replace(day, stored=replace(day.stored, value=5))
    assert judged(less, None) == ("warn", "2 not at RiskCast. Reconcile will recover.")
    assert judged(less, trouble) == ("warn", "Ledger-only: 2 wait while RiskCast is slow. Reconcile will recover.")

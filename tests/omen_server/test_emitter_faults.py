"""
The emitter while RiskCast fails: time stands still but for what is slept, or the network itself is broken.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from omen.v1 import signal_service_pb2 as signals
from omen_rpc.channel import Connection
from omen_rpc.errors import Reason, fault
from omen_server.backpressure import Backpressure
from omen_server.breaker import Breaker, BreakerState
from omen_server.emitter import CROWDED, UNFORESEEN
from omen_server.push_settings import DeliveryLimits
from omen_server.riskcast_watch import watch
from tests.fault_proxy import Fault, fault_proxy
from tests.hosting import hosted, until
from tests.ledgers import DAY, signal_id
from tests.omen_server.far_side import INGEST, FakeIngest, rigged

DELIVERED, DUPLICATE = signals.EMIT_STATUS_DELIVERED, signals.EMIT_STATUS_DUPLICATE
LEDGER_ONLY = signals.EMIT_STATUS_LEDGER_ONLY


@dataclass
class Clock:
    """
    A clock that moves by what is slept, and keeps it.
    """

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """
        Let so much time go by.
        """
        self.slept.append(round(seconds, 3))
        self.now_s += seconds


async def down(_request: object) -> None:
    """
    Answer that the store is away.
    """
    raise fault(Reason.ERROR_REASON_STORE_UNAVAILABLE)


def timed(clock: Clock) -> dict[str, object]:
    """
    Return what makes an emitter live in a clock's time, with the longest pauses.
    """
    return {"sleep": clock.sleep, "share": lambda: 1.0, "backpressure": Backpressure(monotonic=clock)}


async def test_schedule_of_a_long_failure(tmp_path: Path) -> None:
    """
    Five calls of five attempts: pauses double within a call, backpressure delays each call's first attempt only, the
    breaker opens at the fifth call, and from then on neither is anybody called nor does anybody wait.
    """
    clock = Clock()
    breaker = Breaker(monotonic=clock)
    within = [0.1, 0.2, 0.4, 0.8]
    async with rigged(tmp_path, FakeIngest(down), breaker=breaker, delivery=DeliveryLimits(), more=timed(clock)) as rig:
        for number in range(5):
            (outcome,) = await rig.outcomes(await rig.append([number]))
            assert outcome.status == LEDGER_ONLY
        assert clock.slept == [*within, 2.0, *within, 60.0, *within, 60.0, *within, 60.0, *within]
        assert breaker.view().state is BreakerState.OPEN
        assert len(rig.fake.requests) == 25
        (outcome,) = await rig.outcomes(await rig.append([5]))
        assert outcome.status == LEDGER_ONLY
        assert len(rig.fake.requests) == 25
        assert len(clock.slept) == 24
        clock.now_s += 30.0
        (outcome,) = await rig.outcomes(await rig.append([6]))
        assert outcome.status == LEDGER_ONLY
        assert len(rig.fake.requests) == 26  # A probe is one attempt, and backpressure does not put it off.
        assert breaker.view().state is BreakerState.OPEN
        assert len(clock.slept) == 24
        assert rig.emitter.settled(DAY) == (7, 7)


async def test_breaker_opens_while_backpressure_holds(tmp_path: Path) -> None:
    """
    What is put off does not outwait a breaker that opens meanwhile; the ledger takes records all the time.
    """
    breaker, backpressure = Breaker(failures_max=1), Backpressure()
    for _ in range(10):
        backpressure.fail()
    async with rigged(tmp_path, FakeIngest(), breaker=breaker, more={"backpressure": backpressure}) as rig:
        items = await rig.append(range(3))
        await until(lambda: rig.emitter.view().queue_length == 3)
        assert 50 < rig.emitter.view().backpressure_delay_s <= 60
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        items += await rig.append([3])
        assert {outcome.status for outcome in await rig.outcomes(items)} == {LEDGER_ONLY}
        assert rig.fake.requests == []


async def test_breaker_opens_between_two_attempts(tmp_path: Path) -> None:
    """
    A call that pauses when the breaker opens is over at once, and does not go on beside the probe that follows.
    """
    breaker = Breaker(failures_max=1)
    limits = DeliveryLimits(pause_first_s=60.0, pause_max_s=60.0)
    more = {"share": lambda: 1.0}
    async with rigged(tmp_path, FakeIngest(down), breaker=breaker, delivery=limits, more=more) as rig:
        items = await rig.append([0])
        await until(lambda: rig.emitter._guard._backpressure._in_a_row == 1)
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        breaker.half_open()
        rig.emitter._guard.look()
        assert (await rig.outcomes(items))[0].status == LEDGER_ONLY
        assert len(rig.fake.requests) == 1


async def test_word_that_it_serves_again(tmp_path: Path) -> None:
    """
    When RiskCast says that it serves, what backpressure holds goes at once, and an open breaker lets a probe through.
    """
    breaker, backpressure = Breaker(failures_max=1), Backpressure()
    async with rigged(tmp_path, FakeIngest(), breaker=breaker, more={"backpressure": backpressure}) as rig:
        await rig.outcomes(await rig.append([0]))
        for _ in range(10):
            backpressure.fail()
        items = await rig.append([1])
        await until(lambda: rig.emitter.view().queue_length == 1)
        rig.emitter._guard.came_back()
        assert (await rig.outcomes(items))[0].status == DELIVERED
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        assert (await rig.outcomes(await rig.append([2])))[0].status == LEDGER_ONLY
        rig.emitter._guard.came_back()
        assert (await rig.outcomes(await rig.append([3])))[0].status == DELIVERED


async def test_watch_tells_of_each_return() -> None:
    """
    A server that is ready is told of once; again after it was not, and again after its connection broke.
    """
    came = 0

    def came_back() -> None:
        nonlocal came
        came += 1

    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0.01)

    async with (
        hosted(FakeIngest(), service=INGEST) as server,
        fault_proxy(str(server.address)) as proxy,
        Connection(proxy.address, attempts_max=1) as connection,
    ):
        watching = asyncio.create_task(watch(connection, came_back, sleep=sleep))
        await until(lambda: came == 1)
        proxy.to_client = Fault(bytes_left=0, then="reset")
        server.impair("test", [INGEST])
        await proxy.swallowed.wait()
        proxy.heal()
        for _ in range(50):
            await asyncio.sleep(0)
        assert came == 1
        server.mend("test")
        await until(lambda: came == 2)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_health_ends_the_pause(tmp_path: Path) -> None:
    """
    An emitter whose breaker is open hears that RiskCast serves again, and has its probe without waiting.
    """
    fake, breaker = FakeIngest(), Breaker(failures_max=1)
    async with (
        hosted(fake, service=INGEST) as server,
        rigged(tmp_path, FakeIngest(), address=str(server.address), breaker=breaker, watched=True) as rig,
    ):
        server.impair("test", [INGEST])
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        assert (await rig.outcomes(await rig.append([0])))[0].status == LEDGER_ONLY
        server.mend("test")
        await until(lambda: breaker.view().state is BreakerState.HALF_OPEN)
        assert (await rig.outcomes(await rig.append([1])))[0].status == DELIVERED


async def test_black_hole(tmp_path: Path) -> None:
    """
    A network that swallows everything costs a call its deadlines and no more; what RiskCast had stored is a DUPLICATE
    for whoever pushes it again.
    """
    fake = FakeIngest()
    limits = DeliveryLimits(attempts_max=2, timeout_s=0.3, pause_first_s=0.001)
    async with (
        hosted(fake, service=INGEST) as server,
        fault_proxy(str(server.address)) as proxy,
        rigged(tmp_path, FakeIngest(), address=proxy.address, delivery=limits) as rig,
    ):
        await rig.outcomes(await rig.append([0]))
        proxy.to_client = Fault(bytes_left=0)
        (outcome,) = await rig.outcomes(await rig.append([1]))
        assert outcome.status == LEDGER_ONLY
        assert "DEADLINE_EXCEEDED" in outcome.detail
        assert rig.emitter.settled(DAY) == (2, 2)
        assert [len(request.items) for request in fake.requests] == [1, 1, 1]


async def test_reset(tmp_path: Path) -> None:
    """
    A connection that is reset in the middle of a call is a passing error: the next attempt delivers.
    """
    fake = FakeIngest()
    limits = DeliveryLimits(pause_first_s=0.5, pause_max_s=2.0)
    async with (
        hosted(fake, service=INGEST) as server,
        fault_proxy(str(server.address)) as proxy,
        rigged(tmp_path, FakeIngest(), address=proxy.address, delivery=limits) as rig,
    ):
        await rig.outcomes(await rig.append([0]))
        proxy.to_client = Fault(bytes_left=0, then="reset")
        items = await rig.append([1])
        await proxy.swallowed.wait()
        proxy.heal()
        assert (await rig.outcomes(items))[0].status == DELIVERED
        assert [request.items[0].signal.signal_id for request in fake.requests][-1] == signal_id(1)


async def test_push_while_the_breaker_is_open(tmp_path: Path) -> None:
    """
    Pushing again obeys the breaker, tells its outcome, and moves nothing that is settled.
    """
    breaker = Breaker(failures_max=1)
    async with rigged(tmp_path, FakeIngest(), breaker=breaker) as rig:
        items = await rig.append([0])
        await rig.outcomes(items)
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        outcome = await rig.emitter.push(items[0])
        assert outcome.status == LEDGER_ONLY
        assert rig.told[-1] == (items[0].offset, outcome)
        assert len(rig.fake.requests) == 1
        breaker.half_open()
        assert (await rig.emitter.push(items[0])).status == DELIVERED
        assert rig.emitter.settled(DAY) == (1, 1)


async def test_pushes_that_wait_are_bounded(tmp_path: Path) -> None:
    """
    When as many signals wait to be pushed again as may, another one is told so at once.
    """
    async with rigged(tmp_path, FakeIngest(), queue_signals_max=2) as rig:
        items = [(await rig.append([number]))[0] for number in range(2)]
        items += await rig.append([2])
        await rig.outcomes(items)
        rig.fake.gate.clear()
        pushes = [asyncio.create_task(rig.emitter.push(item)) for item in items[:2]]
        await until(lambda: len(rig.emitter._pushes) == 2)
        assert await rig.emitter.push(items[2]) == CROWDED
        rig.fake.gate.set()
        assert [each.status for each in await asyncio.gather(*pushes)] == [DELIVERED] * 2


async def test_who_stops_waiting_for_a_push_leaves_it_to_others(tmp_path: Path) -> None:
    """
    Two wait for one push and one goes away: the other is told its outcome.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:
        items = await rig.append([1])
        await rig.outcomes(items)
        rig.fake.gate.clear()
        gone, stays = (asyncio.create_task(rig.emitter.push(items[0])) for _ in range(2))
        await until(lambda: len(rig.emitter._pushes) == 1)
        gone.cancel()
        await asyncio.wait([gone])
        rig.fake.gate.set()
        assert (gone.cancelled(), (await stays).status) == (True, DELIVERED)


async def test_probe_that_ends_by_a_bug_makes_room_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A half-open breaker whose one probe told nothing lets the next call be the probe.
    """
    breaker = Breaker(failures_max=1)
    async with rigged(tmp_path, FakeIngest(), breaker=breaker) as rig:
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        breaker.half_open()
        with monkeypatch.context() as broken:
            broken.setattr(rig.emitter, "_send", None)
            (first,) = await rig.outcomes(await rig.append([0]))
        assert first == UNFORESEEN
        (second,) = await rig.outcomes(await rig.append([1]))
        assert second.status == DELIVERED


async def test_push_of_what_is_in_flight(tmp_path: Path) -> None:
    """
    A signal that the hot path is still at is not sent a second time.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:
        rig.fake.gate.clear()
        items = await rig.append([0])
        await rig.fake.called.wait()
        pushed = asyncio.create_task(rig.emitter.push(items[0]))
        await asyncio.sleep(0)
        rig.fake.gate.set()
        assert (await pushed).status == DELIVERED
        assert rig.fake.sizes == [1]


async def test_waiter_that_goes_away(tmp_path: Path) -> None:
    """
    One who stops waiting leaves the others and the push undisturbed.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:
        rig.fake.gate.clear()
        (item,) = await rig.append([0])
        waiters = [asyncio.create_task(rig.emitter.outcome(item.offset)) for _ in range(2)]
        await rig.fake.called.wait()
        waiters[0].cancel()
        rig.fake.gate.set()
        assert (await waiters[1]).status == DELIVERED


async def test_log_says_it_once(tmp_path: Path) -> None:
    """
    The first signal that is left to the reconciler is told of, and the first delivered after; not each one between.
    """
    fake = FakeIngest(down)
    with capture_logs() as lines:
        async with rigged(tmp_path, fake, breaker=Breaker(failures_max=100)) as rig:
            for number in range(3):
                await rig.outcomes(await rig.append([number]))
                rig.emitter._guard.came_back()
            fake.answer = None
            for number in range(3, 6):
                await rig.outcomes(await rig.append([number]))
    told = [line["event"] for line in lines if line["event"].startswith("hot_path")]
    assert told == ["hot_path_ledger_only", "hot_path_delivers"]
    (first,) = [line for line in lines if line["event"] == "hot_path_ledger_only"]
    assert "will reconcile" in first["text"]


async def test_lasting_refusal_is_an_error_once(tmp_path: Path) -> None:
    """
    A key that RiskCast does not know is one line for a person, however many calls it costs.
    """

    async def unknown(_request: object) -> None:
        raise fault(Reason.ERROR_REASON_API_KEY_UNKNOWN)

    with capture_logs() as lines:
        async with rigged(tmp_path, FakeIngest(unknown)) as rig:
            for number in range(5):
                await rig.outcomes(await rig.append([number]))
                rig.emitter._guard.came_back()
    errors = [line for line in lines if line["event"] == "riskcast_refuses"]
    assert [(line["reason"], line["log_level"]) for line in errors] == [("API_KEY_UNKNOWN", "error")]


@pytest.mark.parametrize("kept", [10])
async def test_memory_of_outcomes_is_bounded(tmp_path: Path, kept: int) -> None:
    """
    The latest outcomes are remembered; who asks for an older one is told so and does not hang.
    """
    async with rigged(tmp_path, FakeIngest(), outcomes_kept_max=kept) as rig:
        items = await rig.append(range(30))
        await until(lambda: len(rig.told) == 30)
        outcomes = await rig.outcomes(items)
        assert [outcome.status for outcome in outcomes] == [LEDGER_ONLY] * (30 - kept) + [DELIVERED] * kept

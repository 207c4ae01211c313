"""
Replaying from a real ledger to a RiskCast that answers by script, over real gRPC.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from omen_client import CallError, RiskCastClient
from omen_rpc.errors import Reason, fault
from reconciler.replay import CALLS_MAX, Rate, Replayed, Replayer
from riskcast.v1 import ingest_service_pb2 as pb
from tests.hosting import hosted, until
from tests.ledgers import DAY, Served, entries, flip, payload_byte, served, signal_id
from tests.omen_server.far_side import INGEST, INVALID, FakeIngest, accepted, failed
from tests.reconciler.far_side import closed
from tests.reconciler.world import at_once, world

UNAVAILABLE = 14


@dataclass
class Replaying:
    """
    A ledger, a script, and a replayer between.
    """

    near: Served
    fake: FakeIngest
    replayer: Replayer
    pauses_s: list[float] = field(default_factory=list)
    told: list[int] = field(default_factory=list)

    async def replay(self, *indexes: int, stop: Callable[[], str] = lambda: "") -> Replayed:
        """
        Replay positions of the day.
        """
        return await self.replayer.replay(DAY, indexes, lambda done: self.told.append(done.count), stop)


@asynccontextmanager
async def replaying(
    place: Path, fake: FakeIngest, count: int = 10, description: str = "", rate: Rate | None = None, **more: Any
) -> AsyncIterator[Replaying]:
    """
    Open a ledger of *count* signals and a replayer to *fake*. Its pauses are noted and not made.
    """
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(served(place / "ledger"))
        far = await stack.enter_async_context(hosted(fake, service=INGEST))
        client = await stack.enter_async_context(RiskCastClient(str(far.address), attempts_max=1))
        for first in range(1, count + 1, 500):
            numbers = range(first, min(first + 500, count + 1))
            await near.ledger.append(entries(numbers, description=description))
        pauses_s: list[float] = []

        async def pause(seconds: float) -> None:
            pauses_s.append(seconds)

        chosen = {"courtesy": at_once, "sleep": pause} | more
        yield Replaying(near, fake, Replayer(near.client, client, rate or Rate(1e9), **chosen), pauses_s)


def answering(*codes: int) -> Any:
    """
    Return a script that refuses some signals of a batch, by number and code in turn: (3, 14) refuses 1 to 3 with 14.
    """
    plan = dict(zip(codes[::2], codes[1::2], strict=True))

    async def answer(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
        results = []
        for item in request.items:
            code = plan.get(item.signal.ledger_index)
            results.append(failed(code, "WHY") if code else accepted(item.signal.signal_id))
        return pb.IngestBatchResponse(results=results)

    return answer


async def test_batches_are_of_a_hundred_and_say_where_they_come_from(tmp_path: Path) -> None:
    """
    Positions go in order, a hundred a call, as reconciled, each item with a request id of its position.
    """
    async with replaying(tmp_path, FakeIngest(), count=450) as at:
        done = await at.replay(*range(1, 451, 2))
        assert sorted(at.fake.sizes) == [25, 100, 100]
        assert sorted(at.fake.ids) == [signal_id(number) for number in range(1, 451, 2)]
        assert {request.origin for request in at.fake.requests} == {pb.INGEST_ORIGIN_RECONCILE}
        item = at.fake.requests[0].items[0]
        assert item.request_id == f"reconcile/{DAY}/{item.signal.ledger_index}"
        assert (done.count, len(done.ids), done.stopped, done.refused) == (225, 225, "", [])
        assert sorted(done.indexes) == list(range(1, 451, 2))
        assert at.told[-1] == 225


async def test_batches_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    """
    Large signals make small batches: no call carries more than 512 KiB.
    """
    async with replaying(tmp_path, FakeIngest(), count=40, description="x" * 30_000) as at:
        done = await at.replay(*range(1, 41))
        assert done.count == 40
        assert max(request.ByteSize() for request in at.fake.requests) <= 512 << 10
        assert sorted(at.fake.sizes) == [6, 17, 17]


async def test_two_calls_are_in_flight(tmp_path: Path) -> None:
    """
    The second call does not wait for the first one's answer; the third does.
    """
    fake = FakeIngest()
    fake.gate.clear()
    async with replaying(tmp_path, fake, count=500) as at:
        going = asyncio.create_task(at.replay(*range(1, 501)))
        await until(lambda: len(fake.requests) == CALLS_MAX)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(fake.requests) == CALLS_MAX
        fake.gate.set()
        assert (await going).count == 500
        assert len(fake.requests) == 5


@pytest.mark.parametrize("whole_call", [True, False])
async def test_the_way_there_blames_nobody(tmp_path: Path, whole_call: bool) -> None:
    """
    Transient codes, of the call or of items, are tried again with growing pauses; only what failed is sent again.
    """
    calls: list[int] = []

    async def answer(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse | None:
        calls.append(len(request.items))
        if len(calls) >= 3:
            return None
        if whole_call:
            raise closed()
        return pb.IngestBatchResponse(
            results=[
                failed(UNAVAILABLE) if item.signal.ledger_index == 2 else accepted(item.signal.signal_id)
                for item in request.items
            ]
        )

    async with replaying(tmp_path, FakeIngest(answer)) as at:
        done = await at.replay(1, 2, 3)
        assert (done.count, done.refused, done.stopped) == (3, [], "")
        assert calls == ([3, 3, 3] if whole_call else [3, 1, 1])
        assert at.pauses_s == [0.2, 0.4]


async def test_a_way_that_stays_closed_ends_the_replay(tmp_path: Path) -> None:
    """
    After five attempts it is given up, says so, and blames no signal; nothing more is sent.
    """

    async def answer(_request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
        raise closed()

    async with replaying(tmp_path, FakeIngest(answer), count=1000) as at:
        done = await at.replay(*range(1, 1001))
        assert (done.count, done.refused, done.stopped) == (0, [], "riskcast_unavailable")
        assert len(at.fake.requests) <= 4 * 5
        assert len({request.items[0].signal.signal_id for request in at.fake.requests}) <= 1 + CALLS_MAX


async def test_a_refusal_is_of_its_signal(tmp_path: Path) -> None:
    """
    A permanent code parks nobody but whom it names, is not tried again here, and keeps its reason.
    """
    async with replaying(tmp_path, FakeIngest(answering(2, INVALID, 5, INVALID))) as at:
        done = await at.replay(*range(1, 8))
        assert [each.event.ledger_index for each in done.refused] == [2, 5]
        assert {(each.error.code, each.error.reason) for each in done.refused} == {(StatusCode.INVALID_ARGUMENT, "WHY")}
        assert (done.count, done.indexes, done.stopped) == (5, [1, 3, 4, 6, 7], "")
        assert len(at.fake.requests) == 1


async def test_a_refused_call_is_halved_until_the_culprit_stands_alone(tmp_path: Path) -> None:
    """
    When the call as a whole is refused for good, halves are sent: one signal is refused, all others arrive.
    """

    async def answer(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse | None:
        if any(item.signal.ledger_index == 37 for item in request.items):
            raise fault(Reason.ERROR_REASON_INVALID_FIELDS, "one of them")
        return None

    async with replaying(tmp_path, FakeIngest(answer), count=100) as at:
        done = await at.replay(*range(1, 101))
        assert [each.event.ledger_index for each in done.refused] == [37]
        assert (done.count, done.stopped) == (99, "")
        assert len(at.fake.requests) <= 15


async def test_a_refused_key_fails_the_run(tmp_path: Path) -> None:
    """
    No signal is to blame for a key, and no pause helps: the error is raised at once.
    """

    async def answer(_request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
        raise fault(Reason.ERROR_REASON_API_KEY_MISSING)

    async with replaying(tmp_path, FakeIngest(answer), count=500) as at:
        with pytest.raises(CallError) as caught:
            await at.replay(*range(1, 501))
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        assert len(at.fake.requests) <= CALLS_MAX
        assert at.pauses_s == []


async def test_a_reason_to_stop_is_heeded_between_batches(tmp_path: Path) -> None:
    """
    What is under way ends, nothing more is sent, and the reason is kept.
    """
    async with replaying(tmp_path, FakeIngest(), count=500) as at:
        done = await at.replay(*range(1, 501), stop=lambda: "paused" if len(at.fake.requests) >= 2 else "")
        assert done.stopped == "paused"
        assert 200 <= done.count <= 300


async def test_courtesy_comes_before_every_call(tmp_path: Path) -> None:
    """
    The hot path is asked before each batch, and nothing is sent while it has the way.
    """
    may = asyncio.Event()
    asked: list[int] = []
    fake = FakeIngest()

    async def courtesy() -> None:
        asked.append(len(fake.requests))
        await may.wait()

    async with replaying(tmp_path, fake, count=300, courtesy=courtesy) as at:
        going = asyncio.create_task(at.replay(*range(1, 301)))
        await until(lambda: bool(asked))
        assert fake.requests == []
        may.set()
        assert (await going).count == 300
        assert len(asked) == 3


class Time:
    """
    A time that passes only when somebody sleeps.
    """

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """
        Let it pass.
        """
        self.now_s += seconds
        self.slept()
        await asyncio.sleep(0)


async def test_the_rate_is_kept() -> None:
    """
    The first batch goes at once, each other one when its time has come; time without use is not saved up.
    """
    time = Time()
    rate = Rate(50, monotonic=time, sleep=time.sleep)
    began = []
    for _ in range(4):
        await rate.take(100, lambda: "")
        began.append(round(time.now_s - 100, 3))
    assert began == [0, 2, 4, 6]
    time.now_s += 1000
    for _ in range(2):
        await rate.take(100, lambda: "")
        began.append(round(time.now_s - 1100, 3))
    assert began[4:] == [6, 8]


async def test_a_changed_rate_is_heeded_by_who_waits() -> None:
    """
    Somebody who would wait for a day goes on at once when the rate is raised; a reason to stop ends the wait as well.
    """
    time = Time()
    rate = Rate(0.001, monotonic=time, sleep=time.sleep)
    await rate.take(100, lambda: "")

    def raised() -> None:
        if time.now_s >= 101:
            rate.signals_per_s = 1000.0

    time.slept = raised
    await rate.take(100, lambda: "")
    assert 101 <= time.now_s <= 102
    rate.signals_per_s = 0.001
    time.slept = lambda: None
    await rate.take(100, lambda: "paused" if time.now_s >= 105 else "")
    assert time.now_s < 106


async def test_damage_in_the_ledger_is_passed_over(tmp_path: Path) -> None:
    """
    A position that cannot be read is counted; its neighbours are brought.
    """
    async with replaying(tmp_path, FakeIngest()) as at:
        (segment,) = (tmp_path / "ledger").rglob("*.wal")
        flip(segment, payload_byte(segment, 4))
        done = await at.replay(4, 5, 6)
        assert (done.count, done.unreadable, done.indexes) == (2, 1, [4, 6])


async def test_a_gap_is_false_only_when_another_has_brought_it(tmp_path: Path) -> None:
    """
    What the hot path brought meanwhile was no gap. What a replay brought, whose answer was lost, was one.
    """
    async with world(tmp_path) as at:
        records = await at.append(range(1, 4), hot=[])
        await at.push(records[:1])
        calls = iter([closed()])

        def trouble(when: str) -> None:
            if when == "after" and (error := next(calls, None)) is not None:
                raise error

        at.far.door.trouble = trouble
        done = await at.replayer.replay(DAY, [1, 2, 3], lambda _done: None, lambda: "")
        assert (done.count, done.false_gaps) == (3, 1)

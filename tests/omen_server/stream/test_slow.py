"""
Many subscribers, some of whom take nothing: nobody waits for them, and they cost what they may cost.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from omen.v1.signal_service_pb2 import SignalFilter, StreamSignalsRequest
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_rpc.status import from_rpc_error
from omen_server.stream.group import Group
from omen_server.stream.limits import Limits
from omen_server.stream.reading import Reading, Turn
from tests.hosting import channel_to, until
from tests.omen_server.stream.streaming import SMALL_WINDOW, Subscription, streaming


@pytest.mark.timeout(120)
async def test_two_hundred_of_whom_fifty_stall(tmp_path: Path) -> None:
    """
    A hundred and fifty who read get everything live although fifty do not; those are ended, and go on after a cursor.
    """
    limits = Limits(ring_records_max=500)
    settings = {"write_timeout_s": 6.0}  # The readers share one loop with OMEN: on a busy machine each waits its turn.
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(streaming(tmp_path, limits=limits, settings=settings))
        channels = [
            await stack.enter_async_context(channel_to(str(at.server.address), None, *SMALL_WINDOW)) for _ in range(4)
        ]
        stubs = [SignalServiceStub(channel) for channel in channels]
        readers = [Subscription(stubs[each % 3].StreamSignals(StreamSignalsRequest())) for each in range(150)]
        stalled = [Subscription(stubs[3].StreamSignals(StreamSignalsRequest())) for _ in range(50)]
        for each in (*readers, *stalled):
            await each.kind("caught_up")
        for number in range(0, 600, 100):
            await at.append(range(number, number + 100), description="x" * 1000)
        await asyncio.gather(*(each.through(600) for each in readers))
        assert all(each.offsets == list(range(1, 601)) for each in readers)
        await until(lambda: len(at.stream.subscribers()) == 150)
        for each in stalled:
            with pytest.raises(grpc.aio.AioRpcError):
                await each.through(601)
        rest = await at.subscribe(after_cursor=stalled[0].cursor).through(600)
        assert stalled[0].offsets + rest.offsets == list(range(1, 601))


async def test_stalled_stream_ends_with_its_cursor(tmp_path: Path) -> None:
    """
    A stream whose peer takes nothing ends with the cursor up to which everything was written.
    """
    async with (
        streaming(tmp_path, settings={"write_timeout_s": 0.5}) as at,
        channel_to(str(at.server.address), None, *SMALL_WINDOW) as channel,
    ):
        await at.append(range(1500), description="x" * 1000)
        stalled = Subscription(SignalServiceStub(channel).StreamSignals(StreamSignalsRequest(from_beginning=True)))
        await stalled.kind("started")
        await until(lambda: not at.stream.subscribers())
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stalled.through(1501)
        error = from_rpc_error(ended.value)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SUBSCRIBER_STALLED")
        rest = await at.subscribe(after_cursor=error.metadata["cursor"]).through(1500)
        assert rest.offsets == list(range(rest.offsets[0], 1501))
        assert rest.offsets[0] <= len(stalled.offsets) + 1


async def test_same_wish_shares_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However many want the same, a frame is made once; another filter has its own.
    """
    made: list[object] = []
    make = Group._made

    def counted(self: Group, wanted: object, count_max: int, after_offset: int) -> object:
        made.append(wanted)
        return make(self, wanted, count_max, after_offset)  # type: ignore[arg-type]

    monkeypatch.setattr(Group, "_made", counted)
    async with streaming(tmp_path) as at:
        same = [at.subscribe() for _ in range(20)]
        other = [at.subscribe(filter=SignalFilter(min_confidence_score=0.5)) for _ in range(5)]
        for each in (*same, *other):
            await each.kind("caught_up")
        await at.append(range(50), score=0.7)
        for each in (*same, *other):
            assert (await each.through(50)).offsets == list(range(1, 51))
    assert len(made) == 2


async def test_ring_holds_what_it_may(tmp_path: Path) -> None:
    """
    Neither records nor bytes, encoded frames among them, go beyond the ring's limits.
    """
    limits = Limits(ring_records_max=300, ring_bytes_max=400_000)
    async with streaming(tmp_path, limits=limits) as at:
        hub = at.stream.hub
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        for number in range(0, 1000, 50):
            await at.append(range(number, number + 50), description="x" * (number % 300))
            await until(lambda: hub.offset == at.ledger.durable_offset)
            held = list(hub._groups.values())
            assert hub._records == sum(group.records for group in held) <= 300
            assert hub._bytes == sum(group.size_bytes for group in held) <= 400_000
            for offset in range(hub.offset):
                assert hub.reaches(offset) == (hub.group_behind(offset) is not None)
            assert hub.reaches(hub.offset)
        assert (await subscription.through(1000)).offsets == list(range(1, 1001))


async def test_few_read_the_ledger_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of many who are behind only so many read at a time, in turns: all of them get on, and none waits for another's end.
    """
    turns: list[int] = []
    turn = Reading.turn

    async def watched(self: Reading) -> Turn | None:
        found = await turn(self)
        turns.append(id(self))
        return found

    monkeypatch.setattr(Reading, "turn", watched)
    async with streaming(tmp_path, limits=Limits(ring_records_max=1), read_batch_records_max=50) as at:
        await at.append(range(500))
        await until(lambda: at.stream.hub.offset == 500)
        behind = [at.subscribe(from_beginning=True) for _ in range(10)]
        await asyncio.gather(*(each.kind("caught_up") for each in behind))
        assert all(each.offsets == list(range(1, 501)) for each in behind)
    assert len(set(turns[:20])) >= 5
    assert len(set(turns)) == 10


async def test_leaving_leaves_nothing(tmp_path: Path) -> None:
    """
    Who goes away in the middle of catching up is forgotten, and the turns are free for others.
    """
    async with streaming(tmp_path, window=5) as at:
        await at.append(range(2000), description="x" * 500)
        for _ in range(5):
            gone = at.subscribe(from_beginning=True, max_batch=1)
            await gone.kind("batch")
            gone.cancel()
        await until(lambda: not at.stream.subscribers())
        assert (await at.subscribe(from_beginning=True).through(2000)).offsets == list(range(1, 2001))

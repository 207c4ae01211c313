"""
What an operator sees of subscribers, and what goes on around a stream while it runs.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from omen.v1.signal_service_pb2 import StreamSignalsRequest
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_server.stream import hub as hub_module
from omen_server.stream.limits import Limits
from tests.hosting import channel_to, until
from tests.ledgers import DAY, NOON, TOMORROW, Clock
from tests.omen_server.stream.streaming import SMALL_WINDOW, Subscription, streaming


def sample(name: str, **labels: str) -> float:
    """
    Return a series as /metrics says it.
    """
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_heartbeats_while_waiting_for_a_turn(tmp_path: Path) -> None:
    """
    Who is behind and waits for its turn to read gets its heartbeats all the same, and then everything.
    """
    time = 0.0
    limits = Limits(readers_max=1)
    async with streaming(tmp_path, clock=lambda: time, limits=limits) as at:
        await at.append(range(5))
    async with streaming(tmp_path, clock=lambda: time, limits=limits) as at:
        async with at.stream._source.readers:
            subscription = at.subscribe(from_beginning=True)
            await subscription.kind("started")
            time = 15.0
            checkpoint = await subscription.kind("checkpoint")
            assert checkpoint.checkpoint.tail_offset == 5
        await subscription.kind("caught_up")
        assert subscription.offsets == [1, 2, 3, 4, 5]
        assert subscription.kinds.count("checkpoint") == 1


async def test_subscribers_are_described(tmp_path: Path) -> None:
    """
    Each subscriber is listed under its number with its place, what it lacks and since when; metrics say the worst.
    """
    clock = Clock()
    async with streaming(tmp_path, now=clock, limits=Limits(readers_max=1)) as at:
        await at.append(range(5))
    async with streaming(tmp_path, now=clock, limits=Limits(readers_max=1)) as at:
        live = at.subscribe()
        await live.kind("caught_up")
        await until(lambda: at.stream.subscribers()[1].live)
        async with at.stream._source.readers:
            behind = at.subscribe(from_beginning=True)
            await behind.kind("started")
            fast, slow = at.stream.subscribers().values()
            assert (slow.position, slow.lag_records, slow.live) == (0, 5, False)
            assert (fast.position, fast.lag_records, fast.live) == (5, 0, True)
            assert fast.since.ToDatetime() == NOON.replace(tzinfo=None)
            assert fast.peer.startswith("ipv4:127.0.0.1")
            assert sample("omen_stream_lag_records") == 5
            assert sample("omen_stream_subscribers", state="live") == 1
            assert sample("omen_stream_subscribers", state="behind") == 1
        await behind.through(5)


async def test_lag_is_the_age_of_what_is_not_sent(tmp_path: Path) -> None:
    """
    The lag is how old the oldest record is that has not been sent, and nothing for who has everything.
    """
    clock = Clock()
    async with streaming(tmp_path, now=clock) as at:
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        assert at.stream.subscribers()[1].lag.ToTimedelta() == timedelta()
        subscriber = at.stream._subscribers[1]
        await at.append(range(3))
        await subscription.through(3)
        await until(lambda: subscriber.offset == 3)
        subscriber.offset = 1
        clock.now += timedelta(seconds=7)
        assert at.stream.subscribers()[1].lag.ToTimedelta() == timedelta(seconds=7)


async def test_counts_what_is_sent(tmp_path: Path) -> None:
    """
    Frames and signals are counted as they are sent, and so is falling behind.
    """
    names = ["omen_stream_frames_total", "omen_stream_signals_total", "omen_stream_fell_behind_total"]
    before = [sample(name) for name in names]
    async with streaming(tmp_path, limits=Limits(ring_records_max=10)) as at:
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        await at.append(range(50))
        await subscription.kind("caught_up")
        await until(lambda: sample(names[0]) - before[0] >= len(subscription.frames))
        counted = [sample(name) - old for name, old in zip(names, before, strict=True)]
        assert counted == [len(subscription.frames), 50, 1]


async def test_partition_ages_under_a_reader(tmp_path: Path) -> None:
    """
    Who reads a partition while it is compressed gets the rest of it from where it is then.
    """
    clock = Clock()
    async with streaming(tmp_path, now=clock, window=1, hot_days=0.0) as at:
        await at.append(range(3000), description="x" * 500)
    async with (
        streaming(tmp_path, now=clock, hot_days=0.0) as at,
        channel_to(str(at.server.address), None, *SMALL_WINDOW) as channel,
    ):
        asked = StreamSignalsRequest(from_beginning=True, max_batch=10)
        subscription = Subscription(SignalServiceStub(channel).StreamSignals(asked))
        await subscription.kind("batch")
        clock.now = TOMORROW
        await at.ledger.seal(DAY, force=True)
        assert await at.ledger.run_lifecycle(dry_run=False)
        await subscription.through(3000)
        assert subscription.offsets == list(range(1, 3001))


async def test_followed_again_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A read of the ledger's end that fails is tried again; live streams miss nothing.
    """
    monkeypatch.setattr(hub_module, "RETRY_S", 0.0)
    async with streaming(tmp_path) as at:
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        read, failed = at.tail.read, asyncio.Event()

        def once(after_offset: int, through_offset: int = 0) -> object:
            if not failed.is_set():
                failed.set()
                raise OSError
            return read(after_offset, through_offset)

        monkeypatch.setattr(at.tail, "read", once)
        await at.append(range(5), offered=False)
        await subscription.through(5)
        assert failed.is_set()
        assert subscription.offsets == [1, 2, 3, 4, 5]


async def test_caught_up_is_with_the_ledger(tmp_path: Path) -> None:
    """
    Who is told that it is caught up has been sent everything that was durable, also when the ring hears of it late.
    """
    async with streaming(tmp_path) as at:
        await at.stream.hub.close()
        await at.append(range(3))
        subscription = at.subscribe(from_beginning=True)
        await subscription.kind("started")
        at.stream.hub.start()
        await subscription.kind("caught_up")
        assert (subscription.kinds, subscription.offsets) == (["started", "batch", "caught_up"], [1, 2, 3])

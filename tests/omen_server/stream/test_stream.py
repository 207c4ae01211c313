"""
StreamSignals over real gRPC: everything once, in order, from the ledger and live.
"""

import asyncio
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_ECONOMIC, OmenSignal, SignalEvent
from omen.v1.signal_service_pb2 import SignalFilter
from omen_rpc.position import Position
from omen_rpc.signal_codec import PayloadKind, Prepared, decode
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.ledger.segment import Record
from omen_server.stream.limits import Limits
from tests.hosting import until
from tests.ledgers import DAY, NOON, RESPONSE_BYTES_MAX, flip, opened, payload_byte, signal_id
from tests.omen_server.stream.streaming import Streaming, Subscription, streaming

SMALL = Limits(ring_records_max=30)
CATEGORIES: list[list[Any]] = [[], [2], [4], [2, 4]]


@pytest.mark.parametrize("kind", ["json", "protobuf"])
async def test_what_is_there_then_what_comes(tmp_path: Path, kind: PayloadKind) -> None:
    """
    From the beginning: started, all that is there, caught_up, then what comes, each signal as the ledger holds it.
    """
    async with streaming(tmp_path, window=5) as at:
        await at.append(range(250), kind)
        subscription = at.subscribe(from_beginning=True)
        await subscription.kind("caught_up")
        assert subscription.kinds == ["started", "batch", "batch", "batch", "caught_up"]
        assert subscription.frames[0].started.ledger_id == at.ledger.identity.ledger_id
        assert subscription.frames[0].started.tail_offset == 250
        await at.append(range(250, 300), kind)
        await subscription.through(300)
        assert subscription.offsets == list(range(1, 301))
        held = [item async for batch in at.ledger.read() for item in batch]
        sent = [each for frame in subscription.frames for each in frame.batch.events]
        assert sent == [decode(item.payload) for item in held if isinstance(item, Record)]


async def test_from_now_on(tmp_path: Path) -> None:
    """
    Without a start nothing of what is there is sent.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(10))
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        await at.append(range(10, 20))
        await subscription.through(20)
        assert subscription.offsets == list(range(11, 21))


async def test_since_asks_the_index(tmp_path: Path) -> None:
    """
    A time starts the stream at the offset that the index names for it, and with what comes when it names none.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(10))
        time = Timestamp(seconds=1000, nanos=5)
        at.since[time.ToNanoseconds()] = 4
        first = await at.subscribe(since=time).through(10)
        assert first.offsets == list(range(4, 11))
        other = at.subscribe(since=Timestamp(seconds=2000))
        await other.kind("caught_up")
        await at.append([10])
        assert (await other.through(11)).offsets == [11]


async def test_every_frame_resumes(tmp_path: Path) -> None:
    """
    After the cursor of any frame, started and caught_up too, exactly the rest comes.
    """
    async with streaming(tmp_path, window=20, limits=SMALL) as at:
        await at.append(range(60))
        whole = at.subscribe(from_beginning=True, max_batch=7)
        await whole.kind("caught_up")
        await at.append(range(60, 80))
        await whole.through(80)
        seen = 0
        for frame in whole.frames:
            seen += len(frame.batch.events)
            rest = at.subscribe(after_cursor=frame.cursor)
            await rest.kind("caught_up")
            assert rest.offsets == list(range(seen + 1, 81))
            rest.cancel()


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_missing_nothing_twice(tmp_path: Path, seed: int) -> None:
    """
    Whatever is appended meanwhile, filtered, cut off and resumed: every wanted signal comes once and in order.
    """
    random = Random(seed)
    through = 400
    kinds: list[PayloadKind] = ["json", "protobuf"]
    window = random.choice([5, 10_000])
    async with streaming(tmp_path, window=window, limits=SMALL, clock=lambda: monotonic() * 20) as at:
        await at.append(range(random.randint(1, 200)))

        async def produce() -> None:
            while at.ledger.durable_offset < through:
                number = at.ledger.durable_offset
                count = min(random.choice([1, 3, 40, 100]), through - number)
                category = random.choice([2, 4])
                await append_of(at, range(number, number + count), category, random.choice(kinds))

        async def consume(seed: int) -> tuple[list[Any], list[int]]:
            mine = Random(seed)
            categories = mine.choice(CATEGORIES)
            found: list[int] = []
            start: dict[str, Any] = {"from_beginning": True}
            while True:
                complete = at.ledger.durable_offset == through
                subscription = at.subscribe(
                    filter=SignalFilter(categories=categories),
                    max_batch=mine.choice([0, 3, 20, 500]),
                    heartbeat_interval=Duration(seconds=1),
                    **start,
                )
                last = mine.choice([2, 5, 30, 200])
                ends = "caught_up" if complete else ""
                await subscription.until(partial(is_enough, frames=last, kind=ends))
                subscription.cancel()
                found += subscription.offsets
                start = {"after_cursor": subscription.cursor}
                if ends in subscription.kinds:
                    return categories, found

        producer = asyncio.create_task(produce())
        results = await asyncio.gather(*(consume(seed * 100 + each) for each in range(5)))
        await producer
        held = [item async for batch in at.ledger.read() for item in batch]
        signals = [decode(item.payload) for item in held if isinstance(item, Record)]
        for categories, found in results:
            wanted = [each.ledger_offset for each in signals if not categories or each.signal.category in categories]
            assert found == wanted


def is_enough(subscription: Subscription, frames: int, kind: str) -> bool:
    """
    Tell whether so many frames have come, or one of a kind, or silence.
    """
    return len(subscription.kinds) == frames or bool({kind, "checkpoint"} & set(subscription.kinds))


async def append_of(at: Streaming, numbers: range, category: int, kind: PayloadKind) -> None:
    """
    Append signals of one category; half of the time nobody offers them to the tail.
    """
    await at.append(numbers, kind, category=category, offered=numbers.start % 2 == 0)


async def test_ring_smaller_than_the_burst(tmp_path: Path) -> None:
    """
    Who is live and slower than a burst is told so once, reads the ledger, and is told again when it is at the end.
    """
    async with streaming(tmp_path, window=20, limits=SMALL) as at:
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        await at.append(range(500))
        await subscription.kind("caught_up")
        assert subscription.offsets == list(range(1, 501))
        assert [kind for kind in subscription.kinds if kind != "batch"] == [
            "started",
            "caught_up",
            "fell_behind",
            "caught_up",
        ]
        (described,) = at.stream.subscribers().values()
        assert (described.fell_behind, described.live, described.lag_records) == (1, True, 0)


async def test_gaps_are_told_whatever_the_filter(tmp_path: Path) -> None:
    """
    Lost offsets come as a gap with the cursor behind them, also where the filter leaves all signals out.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(20))
    path = tmp_path / DAY / "signals-001.wal"
    flip(path, payload_byte(path, 9))
    async with streaming(tmp_path) as at:
        for nothing in (SignalFilter(categories=[SIGNAL_CATEGORY_ECONOMIC]), SignalFilter(partitions=["2000-01-01"])):
            subscription = at.subscribe(from_beginning=True, filter=nothing)
            gap = await subscription.kind("gap")
            assert (gap.gap.first_offset, gap.gap.last_offset) == (10, 10)
            assert gap.gap.reason
            rest = await at.subscribe(after_cursor=gap.cursor).through(20)
            assert rest.offsets == list(range(11, 21))


class HeldDisk(Disk):
    """
    A real disk whose syncs wait until the test lets them go on.
    """

    def __init__(self) -> None:
        self.free = Event()
        self.free.set()

    def sync_data(self, fd: int) -> None:
        """
        Sync when the test says so.
        """
        self.free.wait(30)
        super().sync_data(fd)


async def test_nothing_before_it_is_durable(tmp_path: Path) -> None:
    """
    What is written and not yet synced is streamed to nobody, neither live nor from the ledger.
    """
    disk = HeldDisk()
    async with streaming(tmp_path, disk=disk) as at:
        await at.append(range(5))
        live = at.subscribe()
        await live.kind("caught_up")
        disk.free.clear()
        appended = asyncio.create_task(at.append(range(5, 10)))
        try:
            await until(lambda: at.ledger.written_offset == 10)
            fresh = at.subscribe(from_beginning=True)
            await fresh.kind("caught_up")
            assert fresh.frames[0].started.tail_offset == 5
            assert fresh.offsets == list(range(1, 6))
            at.stream.hub.wake()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await live.through(6)
        finally:
            disk.free.set()
        await appended
        await fresh.through(10)
        assert fresh.offsets == list(range(1, 11))


async def test_heartbeats_by_the_clock(tmp_path: Path) -> None:
    """
    Silence as long as the heartbeat ends in a checkpoint whose cursor is past what the filter left out.
    """
    time = 0.0
    async with streaming(tmp_path, clock=lambda: time) as at:
        subscription = at.subscribe(
            heartbeat_interval=Duration(seconds=10), filter=SignalFilter(partitions=["2020-01-01"])
        )
        await subscription.kind("caught_up")
        await at.append(range(10))
        await until(lambda: at.stream.subscribers()[1].position == 10)
        time = 9.0
        at.stream.hub.wake()
        time = 9.9
        at.stream.hub.wake()
        checkpoint = await subscription.kind("checkpoint")
        assert checkpoint.checkpoint.tail_offset == 10
        assert checkpoint.checkpoint.server_time.ToDatetime() == NOON.replace(tzinfo=None)
        assert subscription.kinds == ["started", "caught_up", "checkpoint"]
        rest = at.subscribe(after_cursor=checkpoint.cursor)
        await rest.kind("caught_up")
        assert rest.offsets == []


async def test_drain_ends_streams(tmp_path: Path) -> None:
    """
    A draining server ends every stream with UNAVAILABLE, whether it is live or reads the ledger, and forgets it.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(10))
        subscription = at.subscribe()
        await subscription.kind("caught_up")
        assert len(at.stream.subscribers()) == 1
        at.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await subscription.kind("batch")
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        await until(lambda: not at.stream.subscribers())


@pytest.mark.parametrize("kind", ["json", "protobuf"])
async def test_frames_are_small(tmp_path: Path, kind: PayloadKind) -> None:
    """
    However large the signals are, a frame keeps to the limit of a message, live and from the ledger.
    """
    async with streaming(tmp_path) as at:
        live = at.subscribe(max_batch=500)
        await live.kind("caught_up")
        await at.append(range(12), kind, description="x" * 200_000)
        await live.through(12)
    async with streaming(tmp_path) as at:
        cold = await at.subscribe(from_beginning=True, max_batch=500).through(12)
    for subscription in (live, cold):
        assert max(frame.ByteSize() for frame in subscription.frames) <= RESPONSE_BYTES_MAX
        assert max(len(frame.batch.events) for frame in subscription.frames) > 1
        assert subscription.offsets == list(range(1, 13))


class Older:
    """
    A record as a version wrote it that had no field for the title.
    """

    def stamp(self, position: Position) -> bytes:
        """
        Return the payload, with the title laid over.
        """
        written = SignalEvent(
            signal_id=signal_id(1), signal=OmenSignal(probability=0.5), unrecognised_json='{"signal":{"title":"Late"}}'
        )
        prepared = Prepared(kind="protobuf", head=b"", tail=written.SerializeToString(deterministic=True))
        return prepared.stamp(position)


async def test_older_records_are_recognised(tmp_path: Path) -> None:
    """
    What an older version had no field for is sent in the field that it has now, although nothing else is decoded.
    """
    async with opened(tmp_path) as ledger:
        await ledger.append([Entry(NOON, Older())])
    async with streaming(tmp_path) as at:
        subscription = await at.subscribe(from_beginning=True).through(1)
        (found,) = subscription.frames[-1].batch.events
        assert (found.signal.title, found.unrecognised_json) == ("Late", "")

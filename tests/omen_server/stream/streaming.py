"""
A ledger behind StreamSignals, served over real gRPC inside the test's process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_SECURITY
from omen.v1.signal_service_pb2 import StreamSignalsRequest, StreamSignalsResponse
from omen_rpc.server import Server
from omen_rpc.signal_codec import PayloadKind
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.records import entry_of
from omen_server.stream import Stream
from omen_server.stream.limits import Limits
from omen_server.tail import Tail, stamped
from tests.hosting import Scripted, hosted, stub_of
from tests.ledgers import NOON, Clock, event, opened

if TYPE_CHECKING:
    from omen.v1.signal_service_pb2_grpc import SignalServiceAsyncStub  # A type that exists in the stubs only.

Frame = StreamSignalsResponse
# A peer that takes little before it reads.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))


@dataclass(slots=True)
class Streaming:
    """
    The ledger, its tail, the stream on it, and a raw stub.
    """

    ledger: Ledger
    tail: Tail
    stream: Stream
    server: Server
    stub: "SignalServiceAsyncStub"
    since: dict[int, int] = field(default_factory=dict)

    async def append(
        self,
        numbers: Sequence[int],
        kind: PayloadKind = "json",
        *,
        category: int = SIGNAL_CATEGORY_SECURITY,
        score: float | None = None,
        offered: bool = True,
        description: str = "",
    ) -> None:
        """
        Append signals and offer them to the tail, as intake does.
        """
        events = [event(number, description=description) for number in numbers]
        for each in events:
            each.signal.category = category  # type: ignore[assignment]  # Also one of a newer version.
            if score is not None:
                each.signal.confidence_score = score
        entries = [entry_of(each, kind) for each in events]
        positions = await self.ledger.append(entries)
        records = [entry.record for entry in entries]
        if offered:
            self.tail.offer(stamped(*parts) for parts in zip(events, records, positions, strict=True))

    def subscribe(self, **asked: Any) -> "Subscription":
        """
        Open a stream.
        """
        return Subscription(self.stub.StreamSignals(StreamSignalsRequest(**asked)))


class Subscription:
    """
    One open stream and all it has sent.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self.frames: list[Frame] = []

    async def until(self, holds: Callable[["Subscription"], bool]) -> "Subscription":
        """
        Read on until something holds of what has come.
        """
        async with asyncio.timeout(30):
            while not holds(self):
                self.frames.append(await anext(self.call.__aiter__()))
        return self

    async def kind(self, kind: str) -> Frame:
        """
        Read on to the next frame of a kind, and return it.
        """
        seen = len(self.frames)
        await self.until(lambda at: kind in at.kinds[seen:])
        return self.frames[-1]

    async def through(self, offset: int) -> "Subscription":
        """
        Read on until an offset has come.
        """
        return await self.until(lambda at: bool(at.offsets) and at.offsets[-1] >= offset)

    def cancel(self) -> None:
        """
        Go away.
        """
        self.call.cancel()

    @property
    def kinds(self) -> list[str]:
        """
        What the frames were.
        """
        return [str(frame.WhichOneof("frame")) for frame in self.frames]

    @property
    def offsets(self) -> list[int]:
        """
        The offsets of all signals and gaps that came, in their order.
        """
        found: list[int] = []
        for frame in self.frames:
            found += [each.ledger_offset for each in frame.batch.events]
            if frame.HasField("gap"):
                found += range(frame.gap.first_offset, frame.gap.last_offset + 1)
        return found

    @property
    def cursor(self) -> str:
        """
        The last frame's cursor.
        """
        return self.frames[-1].cursor


@asynccontextmanager
async def streaming(
    place: Path,
    *,
    disk: Disk | None = None,
    window: int = 10_000,
    limits: Limits | None = None,
    clock: Callable[[], float] = monotonic,
    settings: dict[str, Any] | None = None,
    now: Clock | None = None,
    **ledger_limits: Any,
) -> AsyncIterator[Streaming]:
    """
    Serve the ledger in *place* while the block runs.
    """
    since: dict[int, int] = {}

    async def first_since(emitted_ns: int) -> int | None:
        return since.get(emitted_ns)

    async with opened(place, now, disk, **ledger_limits) as ledger:
        tail = Tail(ledger, records_max=window)
        stream = Stream(ledger, tail, first_since, limits=limits, now=now or Clock(NOON), clock=clock)
        stream.start()
        servicer = Scripted(stream=stream.serve)
        try:
            async with hosted(servicer, settings=settings) as server, stub_of(server) as stub:
                yield Streaming(ledger, tail, stream, server, stub, since)
        finally:
            await stream.close()

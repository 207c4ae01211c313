import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import Any

from omen.v1 import operations_service_pb2 as operations_pb
from omen.v1.signal_service_pb2 import StreamSignalsRequest
from omen_rpc import metrics
from omen_rpc.call import CURRENT
from omen_server.ledger.ledger import Ledger
from omen_server.stream.cursor import Cursors
from omen_server.stream.hub import Hub
from omen_server.stream.limits import Limits
from omen_server.stream.request import wish_of
from omen_server.stream.start import FirstSince, Starts
from omen_server.stream.subscriber import Source, Subscriber
from omen_server.tail import Tail


def utc_now() -> datetime:
    """
    Return the time.
    """
    return datetime.now(UTC)


class Stream:
    """
    StreamSignals: what the ledger holds, in its order, first what is there and then what comes.

    Nobody gets what is not durable: everything here comes from the ledger's readers or from its tail.
    """

    def __init__(
        self,
        ledger: Ledger,
        tail: Tail,
        first_since: FirstSince,
        *,
        limits: Limits | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        limits = limits or Limits()
        cursors, readers = Cursors(ledger.identity), asyncio.Semaphore(limits.readers_max)
        self.hub = Hub(tail, cursors, limits)
        self._starts = Starts(ledger, tail, cursors, first_since, readers)
        self._source = Source(ledger, self.hub, cursors, readers, now, clock)
        self._numbers = count(1)
        self._subscribers: dict[int, Subscriber] = {}

    def start(self) -> None:
        """
        Begin to follow the ledger. Comes before the first call; starting twice is starting once.
        """
        self.hub.start()
        metrics.STREAM_SUBSCRIBERS.labels("live").set_function(lambda: self._count(live=True))
        metrics.STREAM_SUBSCRIBERS.labels("behind").set_function(lambda: self._count(live=False))
        metrics.STREAM_LAG_RECORDS.set_function(self._lag_records)
        metrics.STREAM_LAG_SECONDS.set_function(self._lag_seconds)

    async def close(self) -> None:
        """
        Stop following the ledger. Streams that are still open get heartbeats only, until the gate ends them.
        """
        await self.hub.close()

    async def serve(self, request: StreamSignalsRequest, context: Any) -> AsyncGenerator[bytes, None]:
        """
        Yield the frames of one StreamSignals call, encoded. Ends only by its caller or by the gate.
        """
        wish = wish_of(request)
        place = await self._starts.place(request)
        call = CURRENT.get(None)
        principal = call.principal.name if call is not None and call.principal is not None else ""
        subscriber = Subscriber(self._source, wish, place, peer=context.peer(), principal=principal)
        number = next(self._numbers)
        self._subscribers[number] = subscriber
        try:
            async with aclosing(subscriber.frames()) as frames:
                async for frame in frames:
                    yield frame.data
                    subscriber.sent(frame)
                    metrics.STREAM_FRAMES.inc()
                    metrics.STREAM_SIGNALS.inc(frame.signals)
                    if call is not None:
                        call.cursor = frame.cursor
        finally:
            del self._subscribers[number]

    def subscribers(self) -> dict[int, operations_pb.Subscriber]:
        """
        Return who is subscribed and how far each is, by numbers that grow with time.
        """
        return {number: each.described() for number, each in self._subscribers.items()}

    def _count(self, *, live: bool) -> int:
        return sum(each.live == live for each in self._subscribers.values())

    def _lag_records(self) -> int:
        return max((each.lag_records() for each in self._subscribers.values()), default=0)

    def _lag_seconds(self) -> float:
        return max((each.lag_ns() for each in self._subscribers.values()), default=0) / 1e9

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import operations_service_pb2 as operations_pb
from omen.v1.signal_service_pb2 import StreamSignalsResponse
from omen_rpc import metrics
from omen_server.ledger.ledger import Ledger
from omen_server.stream.cursor import Cursors
from omen_server.stream.frame import Frame
from omen_server.stream.hub import BEAT_S, Hub
from omen_server.stream.reading import Reading, Turn
from omen_server.stream.request import Wish
from omen_server.stream.start import Place


@dataclass(frozen=True, slots=True)
class Source:
    """
    What all subscribers of one ledger share. *clock* is monotonic and measures silence; *now* is told to people.
    """

    ledger: Ledger
    hub: Hub
    cursors: Cursors
    readers: asyncio.Semaphore
    now: Callable[[], datetime]
    clock: Callable[[], float]


class Subscriber:
    """
    One open stream: a place in the ledger and a wish, no queue. What it is sent is fetched when it can be sent.
    """

    def __init__(self, source: Source, wish: Wish, place: Place, *, peer: str, principal: str) -> None:
        self._source = source
        self._wish = wish
        self.offset, self.cursor = place.offset, place.cursor
        self._peer, self._principal = peer, principal
        self._since = source.now()
        self._spoke_s = source.clock()
        self._written_at = 0
        self._fell_behind = 0
        self.live = False

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """
        Yield the whole stream. A frame counts as sent when the next one is asked for.
        """
        ledger = self._source.ledger
        started = StreamSignalsResponse.Started(
            ledger_id=ledger.identity.ledger_id, tail_offset=max(self.offset, ledger.durable_offset)
        )
        yield self._said(StreamSignalsResponse(started=started))
        while True:
            if self._source.hub.reaches(self.offset):
                async with aclosing(self._from_ring()) as frames:
                    async for frame in frames:
                        yield frame
            elif self.live:
                self.live = False
                self._fell_behind += 1
                metrics.STREAM_FELL_BEHIND.inc()
                yield self._said(StreamSignalsResponse(fell_behind=StreamSignalsResponse.FellBehind()))
            else:
                async with aclosing(self._from_ledger()) as frames:
                    async for frame in frames:
                        yield frame

    def sent(self, frame: Frame) -> None:
        """
        Note that a frame has been written: the place behind it has been reached, and the silence is over.
        """
        self.offset, self.cursor = frame.offset, frame.cursor
        self._spoke_s = self._source.clock()

    def lag_records(self) -> int:
        """
        Return how many offsets it has not been sent.
        """
        return max(0, self._source.ledger.durable_offset - self.offset)

    def lag_ns(self) -> int:
        """
        Return the age of the oldest record not sent; where that one is not at hand, of the last one read.
        """
        if not self.lag_records():
            return 0
        group = self._source.hub.group_behind(self.offset) if self._source.hub.reaches(self.offset) else None
        written_at = group.written_at(self.offset + 1) if group is not None else self._written_at
        now_ns = int(self._source.now().timestamp() * 1e9)
        return max(0, now_ns - written_at) if written_at else 0

    def described(self) -> operations_pb.Subscriber:
        """
        Return what an operator is told of it.
        """
        lag, since = Duration(), Timestamp()
        lag.FromNanoseconds(self.lag_ns())
        since.FromDatetime(self._since)
        return operations_pb.Subscriber(
            peer=self._peer,
            principal=self._principal,
            position=self.offset,
            lag_records=self.lag_records(),
            lag=lag,
            live=self.live,
            since=since,
            fell_behind=self._fell_behind,
        )

    async def _from_ring(self) -> AsyncGenerator[Frame, None]:
        """
        Yield what comes, until it comes too fast. What is there on entering is the end that `caught_up` tells of.

        What is there is what is durable: the hub may hear of it a moment later.
        """
        hub, wish = self._source.hub, self._wish
        end = self._source.ledger.durable_offset
        while hub.reaches(self.offset):
            if not self.live and self.offset >= end:
                self.live = True
                yield self._said(StreamSignalsResponse(caught_up=StreamSignalsResponse.CaughtUp()))
                continue
            if self._is_silent():
                yield self._checkpoint()
                continue
            moved = hub.moved
            group = hub.group_behind(self.offset)
            if group is None:
                await moved.wait()
                continue
            written_at = group.written_at(group.last_offset)
            for frame in hub.frames(group, wish.wanted, wish.batch_max, self.offset):
                yield frame
            self._reached(group.last_offset, group.cursor, written_at)

    async def _from_ledger(self) -> AsyncGenerator[Frame, None]:
        """
        Yield what lies in the ledger, until the ring has what follows or nothing does.
        """
        source = self._source
        began = self.offset
        reading = Reading(source.ledger, self.offset, self._wish, source.cursors, source.readers)
        turn: asyncio.Task[Turn | None] | None = None
        try:
            while not source.hub.reaches(self.offset):
                turn = asyncio.create_task(reading.turn())
                while not turn.done():
                    if self._is_silent():
                        yield self._checkpoint()
                    await asyncio.wait({turn}, timeout=BEAT_S)
                found = turn.result()
                if found is None:
                    return
                while found.frames:
                    yield found.frames.popleft()
                self._reached(found.offset, found.cursor, found.written_at)
                if self._is_silent():
                    yield self._checkpoint()
        except FileNotFoundError:
            # A segment is somewhere else since the pass began: it has aged. A new pass finds it there.
            if self.offset == began:
                raise
        finally:
            if turn is not None:
                turn.cancel()
                await asyncio.gather(turn, return_exceptions=True)
            await reading.close()

    def _reached(self, offset: int, cursor: str, written_at: int) -> None:
        """
        Move past what has been sent or left out.
        """
        self.offset, self.cursor = offset, cursor
        self._written_at = written_at or self._written_at

    def _is_silent(self) -> bool:
        return self._source.clock() - self._spoke_s >= self._wish.heartbeat_s - BEAT_S

    def _checkpoint(self) -> Frame:
        now = Timestamp()
        now.FromDatetime(self._source.now())
        tail_offset = max(self.offset, self._source.ledger.durable_offset)
        checkpoint = StreamSignalsResponse.Checkpoint(tail_offset=tail_offset, server_time=now)
        return self._said(StreamSignalsResponse(checkpoint=checkpoint))

    def _said(self, reply: StreamSignalsResponse) -> Frame:
        """
        Return a frame that moves nothing.
        """
        reply.cursor = self.cursor
        return Frame(reply.SerializeToString(), self.offset, self.cursor)

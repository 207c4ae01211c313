import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from random import random
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from omen.v1.signal_pb2 import SignalEvent
from omen.v1.signal_service_pb2 import StreamSignalsRequest, StreamSignalsResponse
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_rpc.channel import Connection
from omen_rpc.errors import CallError

HEARTBEAT_S = 15.0
# A server that says nothing for so many heartbeats is gone, whatever its connection says.
SILENT_HEARTBEATS = 2
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0
# Without a reason of ours these are broken connections; with one, the catalogue decides.
BROKEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED})

Sleep: TypeAlias = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Streamed:
    """
    One signal. After *cursor* it does not come again, but what shared a frame with it may.
    """

    event: SignalEvent
    cursor: str


@dataclass(frozen=True, slots=True)
class StreamedGap:
    """
    Offsets that the ledger has lost.
    """

    first_offset: int
    last_offset: int
    reason: str
    cursor: str


class SignalStream:
    """
    Signals as they come, for ever: what breaks is connected again, after the last one that was asked past.

    `cursor` moves when the next item is asked for, so whoever keeps it then has every signal at least once. Only what
    a retry cannot mend is raised: OutOfRange for a cursor that the ledger does not know (its metadata names the
    earliest that it does), NotAllowed, InvalidRequest. *broke* hears of every connection that broke, with None where it
    only fell silent or was closed; what it raises ends the stream. With *until_caught_up* it ends when what was there
    has been sent.
    """

    def __init__(
        self,
        connection: Connection,
        request: StreamSignalsRequest,
        sleep: Sleep = asyncio.sleep,
        *,
        until_caught_up: bool = False,
        broke: Callable[[CallError | None], object] | None = None,
    ) -> None:
        self._connection = connection
        self._method = SignalServiceStub(connection.subscriptions).StreamSignals
        self._request = request
        interval = request.heartbeat_interval
        heartbeat_s = interval.ToNanoseconds() / 1e9 if request.HasField("heartbeat_interval") else HEARTBEAT_S
        self._silence_max_s = SILENT_HEARTBEATS * heartbeat_s
        self._sleep = sleep
        self._until_caught_up = until_caught_up
        self._broke = broke
        self._failures = 0
        self._items = self._followed()
        self.cursor = request.after_cursor
        self.ledger_id = ""
        self.tail_offset = 0
        self.live = False
        self.connections = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Streamed | StreamedGap:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """
        End the stream. `cursor` stays.
        """
        await self._items.aclose()

    async def _followed(self) -> AsyncGenerator[Streamed | StreamedGap, None]:
        while True:
            error: CallError | None = None
            try:
                async with aclosing(self._connected()) as items:
                    async for item in items:
                        yield item
            except CallError as raised:
                if not may_mend(raised):
                    raise
                error = raised
            except TimeoutError:
                pass  # The silence was too long.
            if self._ended:
                return
            self.live = False
            if self._broke is not None:
                self._broke(error)
            await self._sleep(self._pause_s(error))
            self._failures += 1

    async def _connected(self) -> AsyncGenerator[Streamed | StreamedGap, None]:
        """
        Yield what one connection brings. TimeoutError when it falls silent.
        """
        self.connections += 1
        if self.cursor:
            self._request.after_cursor = self.cursor
        async with aclosing(self._connection.stream(self._method, self._request)) as frames:
            while True:
                async with asyncio.timeout(self._silence_max_s):
                    frame = await anext(frames, None)
                if frame is None:  # No server of ours ends a stream in good order, but a proxy may.
                    return
                self._note(frame)
                for item in items_of(frame, self.cursor):
                    yield item
                self.cursor = frame.cursor
                if self._ended:
                    return

    @property
    def _ended(self) -> bool:
        return self._until_caught_up and self.live

    def _note(self, frame: StreamSignalsResponse) -> None:
        """
        Keep what a frame says beside its signals.
        """
        match frame.WhichOneof("frame"):
            case "started":
                self.ledger_id, self.tail_offset = frame.started.ledger_id, frame.started.tail_offset
                return  # A server that breaks off behind it every time is not hurried.
            case "checkpoint":
                self.tail_offset = frame.checkpoint.tail_offset
            case "caught_up":
                self.live = True
            case "fell_behind":
                self.live = False
        self._failures = 0

    def _pause_s(self, error: CallError | None) -> float:
        """
        Return how long to wait before connecting again: longer each time, never less than the server asks for.
        """
        asked_s = (error.retry_after_s if error is not None else None) or 0.0
        longest_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** min(self._failures, 16))
        spread_s = longest_s * (0.5 + random() / 2)  # noqa: S311 - only to spread those who come back
        return max(asked_s, spread_s)


def items_of(frame: StreamSignalsResponse, before: str) -> Sequence[Streamed | StreamedGap]:
    """
    Return what a frame brings. Its cursor is behind all of it, so only its last signal has that one.
    """
    if frame.HasField("gap"):
        gap = frame.gap
        return [StreamedGap(gap.first_offset, gap.last_offset, gap.reason, frame.cursor)]
    events = frame.batch.events
    return [Streamed(event, frame.cursor if at == len(events) else before) for at, event in enumerate(events, 1)]


def may_mend(error: CallError) -> bool:
    """
    Tell whether connecting again can help.
    """
    return error.retryable or (not error.reason and error.code in BROKEN)


def request_of(
    *,
    after_cursor: str,
    from_beginning: bool,
    since: datetime | None,
    categories: Sequence[int],
    partitions: Sequence[str],
    min_confidence_score: float | None,
    heartbeat_s: float | None,
    max_batch: int,
) -> StreamSignalsRequest:
    """
    Return the request. ValueError when it names more than one place to start.
    """
    if bool(after_cursor) + from_beginning + (since is not None) > 1:
        raise ValueError("after_cursor, from_beginning and since exclude each other")
    request = StreamSignalsRequest(max_batch=max_batch)
    if after_cursor:
        request.after_cursor = after_cursor
    if from_beginning:
        request.from_beginning = True
    if since is not None:
        request.since.FromDatetime(since)
    request.filter.categories.extend(categories)  # type: ignore[arg-type]  # Also one of a newer version.
    request.filter.partitions.extend(partitions)
    if min_confidence_score is not None:
        request.filter.min_confidence_score = min_confidence_score
    if heartbeat_s is not None:
        request.heartbeat_interval.FromNanoseconds(round(heartbeat_s * 1e9))
    return request

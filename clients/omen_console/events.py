"""
Live updates: one stream of events a page, at most four frames a second, bounded however long it is open.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from omen.v1.signal_pb2 import SignalCategory, SignalEvent
from omen_client import CallError, SignalStream, Streamed
from omen_console.console import Console
from omen_console.glance import glance
from omen_console.pulse import Reading
from omen_rpc import metrics

FRAME_S: Final = 0.25
READ_S: Final = 0.5
# So often something is sent although nothing changed: a connection that is gone shows only then.
BREATH_S: Final = 10.0
ROWS_MAX: Final = 50
CLOCKS_DIFFER: Final = timedelta(seconds=2)
BACK_MAX: Final = timedelta(seconds=60)


class Tail:
    """
    The newest signals of a stream since they were last taken, and how many came.
    """

    def __init__(self, stream: SignalStream) -> None:
        self._stream = stream
        self._waiting: deque[SignalEvent] = deque(maxlen=ROWS_MAX)
        self._came = 0
        self.trouble = ""
        self._task = asyncio.create_task(self._follow())

    def take(self) -> tuple[Sequence[SignalEvent], int]:
        """
        Return what came, the newest first, and how many there were beside the ones returned.
        """
        events, more = tuple(reversed(self._waiting)), self._came - len(self._waiting)
        self._waiting.clear()
        self._came = 0
        return events, more

    def cancel(self) -> "asyncio.Task[None]":
        """
        Let the stream end, and return the task that ends it.
        """
        self._task.cancel()
        return self._task

    async def _follow(self) -> None:
        try:
            async for item in self._stream:
                if isinstance(item, Streamed):
                    self._waiting.append(item.event)
                    self._came += 1
        except CallError as error:
            self.trouble = error.message
        finally:
            await self._stream.aclose()


def endpoint(console: Console) -> Callable[[Request], Awaitable[Response]]:
    """
    Return what answers with a page's events.
    """

    async def respond(request: Request) -> Response:
        if console.streams >= console.settings.streams_max:
            text = "As many pages are live as may be. Close one, or reload this one for a fresh look.\n"
            return PlainTextResponse(text, 503)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(frames(console, request), media_type="text/event-stream", headers=headers)

    return respond


async def frames(console: Console, request: Request) -> AsyncIterator[str]:
    """
    Yield what changed since the frame before, as long as the page is open and the console runs.
    """
    console.streams += 1
    metrics.CONSOLE_STREAMS_OPEN.inc()
    tail = Tail(tail_of(console, request)) if request.query_params.get("tail") else None
    loop = asyncio.get_running_loop()
    told: Mapping[str, str] = {}
    sent_s = float("-inf")
    # Read on the side: a server that hangs holds the figures up, and not the signals.
    reading = asyncio.create_task(console.pulse.read())
    try:
        yield "retry: 2000\n\n"
        while not console.closing.is_set():
            frame: dict[str, Any] = {}
            if reading.done():
                now = glance(console, reading.result())
                frame |= changes(told, now)
                told = now
                reading = asyncio.create_task(later(console))
            if tail is not None:
                frame |= tail_frame(console, request, tail)
            if frame:
                frame["at"] = console.upstream.now().isoformat()
                yield f"data: {json.dumps(frame, ensure_ascii=False)}\n\n"
                sent_s = loop.time()
            elif loop.time() - sent_s > BREATH_S:
                yield ": still here\n\n"
                sent_s = loop.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(console.closing.wait(), FRAME_S)
    finally:
        # Of a browser that left, this is cancelled for good: every await below raises at once. What is to end has been
        # told so before the first of them, and ends in its own task.
        console.streams -= 1
        metrics.CONSOLE_STREAMS_OPEN.dec()
        reading.cancel()
        ending = {reading} if tail is None else {reading, tail.cancel()}
        await asyncio.wait(ending)


async def later(console: Console) -> Reading:
    """
    Return the next reading, half a second from now.
    """
    await asyncio.sleep(READ_S)
    return await console.pulse.read()


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the figures that are other ones now.
    """
    live = {name: value for name, value in now.items() if before.get(name) != value}
    return {"live": live} if live else {}


def tail_frame(console: Console, request: Request, tail: Tail) -> dict[str, Any]:
    """
    Return the rows that a live tail puts on top; nothing when none came.
    """
    events, more = tail.take()
    if tail.trouble:
        return {"trouble": tail.trouble}
    if not events:
        return {}
    rows = console.pages.fragment(request, "rows.html", console.upstream.now(), events=events)
    return {"rows": rows, "count": len(events), "more": more}


def tail_of(console: Console, request: Request) -> SignalStream:
    """
    Return the stream a page asks for, filtered as the page is: from now on, or from the moment it was made at.
    """
    asked = request.query_params
    category = asked.get("category", "")
    known = f"SIGNAL_CATEGORY_{category}" in SignalCategory.keys()  # noqa: SIM118 - an enum's wrapper is no mapping
    return console.upstream.omen.stream(
        categories=[SignalCategory.Value(f"SIGNAL_CATEGORY_{category}")] if known else [],
        partitions=[asked["partition"]] if asked.get("partition") else [],
        since=since_of(asked.get("since", ""), console.upstream.now()),
        max_batch=ROWS_MAX,
    )


def since_of(text: str, now: datetime) -> datetime | None:
    """
    Return the moment to begin at: a little before the one asked for, as clocks differ, and never long ago.
    """
    try:
        asked = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(asked - CLOCKS_DIFFER, now - BACK_MAX) if asked.tzinfo is not None else None

"""
The event stream of a page, from a console that is a process of its own.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx

from omen_client import OmenClient
from omen_console.events import since_of
from tests.console.conftest import Open, Show
from tests.console.stage import one_more_subscriber, signals

FRAMES = 9


async def frames_of(client: httpx.AsyncClient, path: str) -> AsyncGenerator[dict[str, Any], None]:
    """
    Yield the frames of an event stream.
    """
    async with client.stream("GET", path) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def test_four_frames_a_second_bring_everything(show: Show) -> None:
    """
    Under hundreds of signals a second a page gets at most four frames a second, bounded ones, whose counts add up.
    """
    loop = asyncio.get_running_loop()
    at: list[float] = []
    emitted = counted = 0
    async with (
        httpx.AsyncClient(base_url=show.root, timeout=10) as client,
        OmenClient(show.stage.address("omen_server")) as omen,
    ):
        stream = frames_of(client, "events?tail=1")
        async with one_more_subscriber(omen):
            first = await anext(stream)
        assert first["live"]["state-omen"] == "up"

        async def emit() -> None:
            nonlocal emitted
            while len(at) < FRAMES:
                await omen.emit_all(signals(60, 20_000 + emitted))
                emitted += 60
                await asyncio.sleep(0.05)  # The pace of the signals; nothing is waited for.

        emitting = asyncio.create_task(emit())
        async with asyncio.timeout(30):
            async for frame in stream:
                at.append(loop.time())
                if "rows" in frame:
                    assert frame["rows"].count("<tr>") == frame["count"] <= 50
                    counted += frame["count"] + frame["more"]
                if emitting.done() and counted >= emitted:
                    break
        await emitting
        assert counted == emitted
        for index, begin in enumerate(at):
            # A fifth may be one that was held up on its way.
            assert sum(begin <= other < begin + 0.9 for other in at[index:]) <= 5


async def test_a_tail_is_filtered_as_its_page(show: Show) -> None:
    """
    Only signals of the page's category come.
    """
    async with (
        httpx.AsyncClient(base_url=show.root, timeout=10) as client,
        OmenClient(show.stage.address("omen_server")) as omen,
    ):
        stream = frames_of(client, "events?tail=1&category=WEATHER")
        async with one_more_subscriber(omen):
            await anext(stream)
        await omen.emit_all(signals(16, 30_000))
        found = ""
        async with asyncio.timeout(30):
            async for frame in stream:
                found += frame.get("rows", "")
                if found.count("<tr>") >= 2:
                    break
        assert found.count(">WEATHER<") == found.count("<tr>") == 2


async def test_nothing_is_lost_between_a_page_and_its_stream(show: Show) -> None:
    """
    A stream that is told when its page was made begins there, and never long before.
    """
    async with OmenClient(show.stage.address("omen_server")) as omen:
        made_at = datetime.now(UTC)
        await omen.emit_all(signals(3, 31_000))
    async with httpx.AsyncClient(base_url=show.root, timeout=10) as client:
        found = ""
        async with asyncio.timeout(30):
            async for frame in frames_of(client, f"events?{urlencode({'tail': 1, 'since': made_at.isoformat()})}"):
                assert datetime.fromisoformat(frame["at"]) > made_at
                found += frame.get("rows", "")
                if "OMEN-STAGE31002" in found:
                    break
    assert "OMEN-STAGE31000" in found
    assert since_of(made_at.isoformat(), made_at + timedelta(hours=1)) == made_at + timedelta(minutes=59)
    assert [since_of(text, made_at) for text in ("", "yesterday", "2026-01-28T10:00:00")] == [None] * 3


async def test_as_many_pages_are_live_as_may_be(open_web: Open, show: Show) -> None:
    """
    One more is answered 503, in words.
    """
    async with open_web(streams_max=1, **show.stage.upstream) as web:
        web.console.streams = 1
        page = await web.get("events")
        assert (page.status_code, "As many pages are live" in page.text) == (503, True)


async def test_a_page_that_is_closed_takes_its_stream_along(show: Show) -> None:
    """
    When a browser leaves a live page, OMEN loses a subscriber.
    """

    async def subscribed() -> set[str]:
        return {f"{each.peer} {each.since}" async for each in omen.operations.subscribers()}

    async with OmenClient(show.stage.address("omen_server")) as omen:
        before = await subscribed()
        async with httpx.AsyncClient(base_url=show.root, timeout=10) as client:
            stream = frames_of(client, "events?tail=1")
            async with one_more_subscriber(omen):
                await anext(stream)
            (new,) = await subscribed() - before
            await stream.aclose()
        async with asyncio.timeout(30):
            while new in await subscribed():  # noqa: ASYNC110 - nobody is told of a subscriber
                await asyncio.sleep(0.02)


async def test_stopping_ends_live_pages(show: Show) -> None:
    """
    A console that is told to stop ends its streams itself, and exits with 0 at once.
    """
    address = await asyncio.to_thread(show.stage.console)
    async with httpx.AsyncClient(base_url=address, timeout=10) as client:
        stream = frames_of(client, "events?tail=1")
        assert "live" in await anext(stream)
        stopping = asyncio.create_task(asyncio.to_thread(show.stage.stop, address))
        async with asyncio.timeout(4):
            async for _ in stream:
                pass
            assert await stopping == 0

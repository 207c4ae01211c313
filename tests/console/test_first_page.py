"""
The first page: its frame before any question, few and small questions, and no waiting for any answer.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import jinja2
import pytest

from omen_console.app import application, assembled
from omen_console.console import Console
from omen_console.screens.dashboard import PARTITIONS_MAX, RUNS_MAX, SUBSCRIBERS_MAX
from omen_console.settings import ConsoleSettings
from omen_rpc.settings import Loaded
from tests.console.far import DAY, NOBODY, Far, upstream_of

# One question each: how OMEN, its hot path, RiskCast and the reconciler are; three lists; and the day, which takes the
# newest partitions, a watermark, and what RiskCast holds up to it.
QUESTIONS = [
    "coverage", "hot_path", "overview", "partitions", "partitions", "runs", "stats", "store", "subscribers",
    "watermark",
]  # fmt: skip


@asynccontextmanager
async def console_of(far: Far) -> AsyncIterator[Console]:
    """
    Put a console before *far*.
    """
    async with asyncio.timeout(20), upstream_of(far) as upstream:
        console = assembled(Loaded(ConsoleSettings(**NOBODY), {}), upstream)
        yield console
        await console.close()


async def parts_of(console: Console, path: str) -> AsyncIterator[tuple[int, str]]:
    """
    Yield the parts of a page as they are sent, each with the status.
    """
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"127.0.0.1")],
        "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 80), "asgi": {"spec_version": "2.4"},
    }  # fmt: skip
    app: Any = application(console)
    answering = asyncio.create_task(app(scope, receive, sent.put))
    try:
        status = (await sent.get())["status"]
        more = True
        while more:
            part = await sent.get()
            more = part.get("more_body", False)
            if part["body"]:
                yield status, part["body"].decode()
    finally:
        gone.set()
        await answering


def said(text: str) -> str:
    """
    Return what a page says.
    """
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_the_frame_is_sent_before_any_question() -> None:
    """
    Navigation and skeleton are on their way before a server is asked; all of the rest takes ten small questions.
    """
    far = Far()
    async with console_of(far) as console:
        console.pages.compile()
        parts = parts_of(console, "/")
        _, top = await anext(parts)
        assert far.calls == []
        assert 'aria-label="Screens"' in top
        assert 'class="skeleton" role="status"' in top
        rest = "".join([part async for _, part in parts])
        assert sorted(far.calls) == QUESTIONS
        assert max(far.rows_wanted) <= max(PARTITIONS_MAX, SUBSCRIBERS_MAX, RUNS_MAX) == 100
        assert "3 not at RiskCast. Reconcile will recover." in said(rest)
        assert "data-asks" not in rest


async def test_nothing_is_compiled_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A console that serves has its templates ready.
    """
    far = Far()
    async with console_of(far) as console:
        console.pages.compile()
        monkeypatch.setattr(jinja2.Environment, "compile", None)
        assert [part async for part in parts_of(console, "/")]


@pytest.mark.parametrize("path", ["/", "/partitions", "/partition", "/proof", "/ingest", "/copy"])
async def test_no_screen_waits_for_a_reading(path: str) -> None:
    """
    With every server's figures held back a screen comes whole, says what is being asked, and looks again by itself.
    """
    far = Far()
    far.hold("stats", "hot_path", "store", "overview", "coverage", "watermark", "subscribers", "runs")
    if path != "/partitions":
        far.hold("partitions")
    async with console_of(far) as console:
        text = "".join([part async for _, part in parts_of(console, path)])
        assert text.rstrip().endswith("</html>")
        assert "OMEN asking RiskCast asking Reconciler asking" in said(text)
        assert re.search(r'<noscript><meta http-equiv="refresh" content="\d"></noscript>', text)
        if path in {"/", "/partition", "/proof"}:
            assert 'data-asks="1"' in text
            assert "OMEN has been asked and has not answered yet. This page looks again by itself. Look again" in said(
                text
            )


async def test_a_partition_is_shown_while_its_comparison_is_made() -> None:
    """
    The page of a partition comes without it, says that RiskCast counts, and looks again; however often it does, there
    is one comparison, whose outcome the next page shows.
    """
    far = Far()
    counted, measured = far.hold("coverage"), far.hold("watermark")
    async with console_of(far) as console:
        page = "".join([part async for _, part in parts_of(console, f"/partitions/{DAY}")])
        assert "OMEN is looking how far this partition goes. This page looks again by itself. Look again" in said(page)
        measured.set()
        for _ in range(3):
            page = "".join([part async for _, part in parts_of(console, f"/partitions/{DAY}")])
            assert "RiskCast is counting what it holds of this partition." in said(page)
            assert "Total records 10 in the ledger Processed —" in said(page)
            assert 'data-asks="3"' in page
            assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
        # One is of the day, for the headline.
        assert far.calls.count("coverage") == 2
        counted.set()
        page = "data-asks"
        while "data-asks" in page:
            page = "".join([part async for _, part in parts_of(console, f"/partitions/{DAY}")])
        assert "3 missing at RiskCast." in said(page)
        assert "Processed 7" in said(page)

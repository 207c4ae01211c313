"""
Pages that are open for an hour at 200 signals a second, by count: as many signals, as fast as they can be had.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect

from omen_client import OmenClient
from tests.conftest import need
from tests.console.stage import Stage, signals
from tests.console.test_browser import browser_of, page_of

SIGNALS = 3600 * 200
LIMIT_S = 900.0
BATCH = 500
CALLS = 4
ROWS_MAX = 200
MIB = 1 << 20


@dataclass(frozen=True)
class Weight:
    """
    What open pages cost: in the browser after its garbage is gone, and at the console and OMEN.
    """

    nodes: list[int]
    listeners: list[int]
    heap_bytes: list[int]
    console_bytes: int
    lag_records: int


@pytest.fixture
def stage() -> Iterator[Stage]:
    """
    Set a stage of this test's own, which it fills.
    """
    made = Stage()
    try:
        made.start("riskcast_server", "omen_server", "reconciler")
        yield made
    finally:
        made.close()


@asynccontextmanager
async def opened(browser: Browser, address: str, path: str) -> AsyncIterator[tuple[Page, CDPSession]]:
    """
    Open a page, and a line to what the browser says of it.
    """
    async with page_of(browser, address) as page:
        await page.goto(address + path)
        await expect(page.locator("#link")).to_have_text("live")
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        yield page, session


async def emitted(omen: OmenClient, first: int, count: int) -> int:
    """
    Emit signals as fast as OMEN takes them, until all are in or half of the time is over; return how many.
    """
    begun, now = 0, asyncio.get_running_loop().time
    end_s = now() + LIMIT_S / 2

    async def some() -> None:
        nonlocal begun
        while begun < count and now() < end_s:
            at, begun = first + begun, begun + BATCH
            await omen.emit_all(signals(BATCH, at))

    await asyncio.gather(*(some() for _ in range(CALLS)))
    return begun


async def weighed(stage: Stage, console: str, sessions: list[CDPSession], omen: OmenClient) -> Weight:
    """
    Weigh everything, when all that was emitted has been shown.
    """
    found = []
    for session in sessions:
        await session.send("HeapProfiler.collectGarbage")
        metrics = await session.send("Performance.getMetrics")
        found.append({each["name"]: int(each["value"]) for each in metrics["metrics"]})
    return Weight(
        nodes=[each["Nodes"] for each in found],
        listeners=[each["JSEventListeners"] for each in found],
        heap_bytes=[each["JSHeapUsedSize"] for each in found],
        console_bytes=resident_bytes(stage.pid(console)),
        lag_records=max([each.lag_records async for each in omen.operations.subscribers()]),
    )


def resident_bytes(pid: int) -> int:
    """
    Return how much memory a process has.
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.prove
@pytest.mark.timeout(2 * LIMIT_S + 120)
async def test_an_open_page_does_not_grow(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """
    From the middle to the end of an hour's signals neither an open dashboard nor a live tail grows in the browser, and
    neither does the console behind them; nobody is behind, and the newest signal is on top.
    """
    console = await asyncio.to_thread(stage.console)
    weights: list[Weight] = []
    first = written = 0
    async with (
        browser_of(need("chromium")) as browser,
        opened(browser, console, "") as (dashboard, near),
        opened(browser, console, "signals") as (tail, far),
        OmenClient(stage.address("omen_server"), timeout_s=60) as omen,
    ):
        for _ in range(2):
            first += await emitted(omen, first, SIGNALS // 2)
            await omen.emit_all(signals(1, first))
            await expect(tail.locator("#rows tr").first).to_contain_text(f"OMEN-STAGE{first}")
            first += 1
            assert await tail.locator("#rows tr").count() == ROWS_MAX
            written = (await omen.operations.stats()).durable_offset
            await expect(dashboard.locator("[data-live=written]")).to_have_text(f"{written:,}")
            weights.append(await weighed(stage, console, [near, far], omen))
    with capsys.disabled():
        print(f"\nafter {written:,} signals", *weights, sep="\n  ")  # noqa: T201 - the figures are what it is run for
    middle, end = weights
    assert end.lag_records == 0
    assert end.listeners == middle.listeners
    for now, before in zip(end.nodes, middle.nodes, strict=True):
        assert now <= before * 1.05
    for now, before in zip(end.heap_bytes, middle.heap_bytes, strict=True):
        assert now <= before * 1.1 + MIB
    assert end.console_bytes <= middle.console_bytes * 1.1 + 8 * MIB

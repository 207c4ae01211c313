"""
The console in a real browser, at two base paths: every screen looked at, keys, live updates, and without JavaScript.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from omen_client import OmenClient
from tests.conftest import need
from tests.console.conftest import SCREENS, Show
from tests.console.looking import poor_contrast, problems
from tests.console.stage import SEALED, signals

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PAGES = (
    *SCREENS, f"partitions/{SEALED}", "signals/OMEN-STAGE00007", f"proof?partition={SEALED}&do=flip&frame=2", "no",
    f"signals/{'X' * 90}",
)  # fmt: skip

# A busy machine is slow, not wrong.
expect.set_options(timeout=20_000)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def chromium() -> str:
    """
    Return the machine's browser.
    """
    return need("chromium")


@asynccontextmanager
async def browser_of(path: str) -> AsyncIterator[Browser]:
    """
    Run a browser.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_of(browser: Browser, base: str, **context: Any) -> AsyncIterator[Page]:
    """
    Open a page whose console must stay silent, whatever it loads.
    """
    said: list[str] = []
    opened = await browser.new_context(base_url=base, **context)
    try:
        page = await opened.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(base) else said.append(request.url))
        yield page
    finally:
        await opened.close()
    assert [each for each in said if "404 (Not Found)" not in each] == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """
    Run one browser for this module's tests.
    """
    async with browser_of(chromium) as found:
        yield found


@pytest.mark.parametrize(("where", "theme", "width"), [("root", "light", 1920), ("below", "dark", 320)])
async def test_every_screen_can_be_looked_at(show: Show, browser: Browser, where: str, theme: str, width: int) -> None:
    """
    At both base paths, in both themes, from a telephone to a projector: nothing is out of place, unlabelled or faint,
    and the browser has nothing to complain about.
    """
    base = getattr(show, where)
    found: dict[str, list[str]] = {}
    async with page_of(
        browser, base, color_scheme=theme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    ) as page:
        for path in PAGES:
            await page.goto(base + path, wait_until="domcontentloaded")
            if wrong := [*await problems(page), *await poor_contrast(page)]:
                found[path] = wrong
    assert found == {}


@pytest.mark.parametrize("width", [320, 1280])
async def test_large_numbers_stay_in_their_places(show: Show, browser: Browser, width: int) -> None:
    """
    Hundreds of millions of signals fit where the demo's fourteen do, on a telephone as well.
    """
    size = {"width": width, "height": 800}
    # Without its script, which would put the real numbers back.
    async with page_of(browser, show.root, viewport=size, java_script_enabled=False) as page:
        await page.goto(show.root)
        await page.evaluate("for (const each of document.querySelectorAll('.num')) each.textContent = '123,456,789'")
        assert await problems(page) == []


async def test_keys(show: Show, browser: Browser) -> None:
    """
    The first Tab offers to skip the navigation; two keys lead to a screen, one to the search, one shows them all.
    """
    async with page_of(browser, show.root) as page:
        await page.goto(show.root)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.keyboard.press("Tab")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("?")
        await expect(page.locator("dialog[open] >> text=Search")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog")).to_be_hidden()
        await page.keyboard.press("g")
        await page.keyboard.press("s")
        await page.wait_for_url("**/signals")
        await page.keyboard.press("/")
        await page.keyboard.type("suez g p ?")
        assert await page.input_value("#search") == "suez g p ?"
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("m")
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")
        await page.keyboard.press("m")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_figures_and_rows_come_by_themselves(show: Show, browser: Browser) -> None:
    """
    What is emitted shows up on open pages; a paused tail counts it; however much comes, no more than 200 rows are kept.
    """
    async with (
        page_of(browser, show.root) as page,
        page_of(browser, show.root) as dashboard,
        OmenClient(show.stage.address("omen_server")) as omen,
    ):
        await dashboard.goto(show.root)
        written = dashboard.locator("[data-live=written]")
        before = int((await written.inner_text()).replace(",", ""))
        await page.goto(show.root + "signals", wait_until="commit")  # What comes before the stream is open is not lost.
        await omen.emit_all(signals(1, 40_000))
        await expect(page.locator("#rows tr").first).to_contain_text("OMEN-STAGE40000")
        await expect(written).to_have_text(f"{before + 1:,}")
        await page.click("#pause")
        await omen.emit_all(signals(3, 40_001))
        await expect(page.locator("#fresh")).to_have_text("3 new")
        await expect(page.locator("#rows tr").first).to_contain_text("OMEN-STAGE40000")
        await page.click("#fresh")
        await expect(page.locator("#rows tr").first).to_contain_text("OMEN-STAGE40003")
        await page.click("#pause")
        for number in range(6):
            await omen.emit_all(signals(50, 41_000 + 50 * number))
            await expect(page.locator("#rows tr").first).to_contain_text(f"OMEN-STAGE{41_049 + 50 * number}")
        assert await page.locator("#rows tr").count() == 200


async def test_a_page_that_still_asks_looks_again(show: Show, browser: Browser) -> None:
    """
    A page that was drawn without an answer is loaded again by itself until it has all of them, and then no more.
    """
    made: list[str] = []

    async def incomplete(route: Route) -> None:
        reply = await route.fetch()
        made.append(await reply.text())
        asks = len(made) < 3
        await route.fulfill(
            response=reply, body=made[-1].replace("<main ", '<main data-asks="0.1" ' if asks else "<main ")
        )

    async with page_of(browser, show.root) as page:
        await page.route(f"{show.root}partitions", incomplete)
        await page.goto(show.root + "partitions", wait_until="commit")
        await expect(page.locator("main:not([data-asks])")).to_be_visible()
        assert len(made) == 3


async def test_nothing_is_streamed_to_a_hidden_page(show: Show, browser: Browser) -> None:
    """
    A page has one stream, closes it when it is hidden, and opens it again when it is looked at.
    """
    async with page_of(browser, show.root) as page:
        streams: list[str] = []
        page.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
        await page.goto(show.root + "signals")
        await expect(page.locator("#link")).to_have_text("live")
        for hidden, text in (("true", "not live while hidden"), ("false", "live")):
            await page.evaluate(
                f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )
            await expect(page.locator("#link")).to_have_text(text)
        assert len(streams) == 2


async def test_without_javascript(show: Show, browser: Browser) -> None:
    """
    Everything but the live tail works with scripts off: searching, sending, reconciling, the theme.
    """
    async with page_of(browser, show.root, java_script_enabled=False) as page:
        await page.goto(show.root + "signals")
        await page.fill("#search", "suez 41")
        await page.click("button:has-text('Search')")
        await expect(page.locator("#rows tr").first).to_contain_text("OMEN-STAGE")
        assert not await page.locator("#tail").is_visible()
        await page.goto(show.root + "ingest")
        await page.click("button:has-text('Send 1')")
        await expect(page.locator("#log-rows tr").first).to_contain_text("200 OK")
        await page.goto(show.root)
        await page.click("button:has-text('Run Reconcile')")
        await expect(page.locator("output")).to_have_text(re.compile(r"Up to date|Replayed \d+"))
        await page.click("#theme")
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")


@pytest.mark.timeout(120)
async def test_the_demo_is_played_in_the_browser(show: Show, browser: Browser) -> None:
    """
    One signal and its duplicates get one ack; without RiskCast signals are ledger-only, and the strip says so; when it
    is back Run Reconcile replays just those, both counts are equal, and a flipped bit is found where it is.
    """

    async def count(page: Page, name: str) -> int:
        return int((await page.locator(f"[data-live={name}]").inner_text()).replace(",", ""))

    async def send(page: Page, outcome: str) -> str:
        await page.goto(show.root + "ingest")
        await page.click("button:has-text('Send 1')")
        newest = page.locator("#log-rows tr").first
        await expect(newest).to_contain_text(outcome)
        return await newest.locator("td").nth(5).inner_text()

    async with page_of(browser, show.root) as page:
        await page.goto(show.root)
        await page.click("button:has-text('Run Reconcile')")
        await expect(page.locator("output")).to_have_text(re.compile(r"Up to date|Replayed \d+"))
        ack = await send(page, "DELIVERED")
        await page.fill("input[name=count]", "3")
        await page.click("button:has-text('Send N duplicates')")
        for number in range(3):
            row = page.locator("#log-rows tr").nth(number)
            await expect(row).to_contain_text("409 ALREADY_EXISTS")
            assert await row.locator("td").nth(5).inner_text() == ack
        show.stage.kill("riskcast_server")
        try:
            await expect(page.locator("[data-live=state-riskcast]")).to_have_text("down")
            for _ in range(2):
                await send(page, "LEDGER_ONLY")
            await expect(page.locator("#log-rows tr").first).to_contain_text("Reconcile will recover")
            await page.goto(show.root)
            await expect(page.locator("[data-live=state-pipeline]")).to_have_text("LEDGER_ONLY")
            await expect(page.locator("output")).to_have_text("")  # "Up to date" was true once.
            await expect(page.locator("[data-live=verdict]")).to_contain_text(
                "wait while RiskCast is down. Reconcile will recover."
            )
            await expect(page.locator(".retry")).to_have_count(1)
        finally:
            show.stage.start("riskcast_server")
        await expect(page.locator("[data-live=state-riskcast]")).to_have_text("up")
        await expect(page.locator(".retry")).to_have_count(0)  # The page has looked again by itself.
        await expect(page.locator("[data-live=verdict]")).to_have_text("2 not at RiskCast. Reconcile will recover.")
        assert await count(page, "ledger") == await count(page, "riskcast") + 2
        await page.click("button:has-text('Run Reconcile')")
        await expect(page.locator("output")).to_have_text("Replayed 2")
        await expect(page.locator("[data-live=verdict]")).to_have_text("Equal: nothing is missing.")
        assert await count(page, "ledger") == await count(page, "riskcast")
        await page.click("button:has-text('Run Reconcile')")
        await expect(page.locator("output")).to_have_text("Up to date")
        await page.goto(show.root + f"proof?partition={SEALED}")
        place = await page.locator("tbody tr").nth(2).locator("td").nth(2).inner_text()
        await page.fill("input[name=frame]", "3")
        await page.click("button:has-text('Flip a bit')")
        await expect(page.locator("#outcome")).to_contain_text(
            f"position 3, file signals-001.wal, byte {place.replace(',', '')}"
        )

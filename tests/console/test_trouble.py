"""
Servers that are down, starting, slow or half there: each screen says what is so and what to do, and in time.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from omen_rpc.server import Server
from omen_rpc.settings import Loaded, ServerSettings
from tests.console.conftest import SCREENS, Open, Show
from tests.console.far import NOBODY
from tests.hosting import SIGNALS, Scripted, hosted


def said(page: httpx.Response) -> str:
    """
    Return what a page says.
    """
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


@asynccontextmanager
async def silent(place: Path) -> AsyncIterator[str]:
    """
    Listen, take every connection, and never say a word.
    """
    open_ends: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        await asyncio.sleep(60)

    server = await asyncio.start_unix_server(hold, place / "s")
    try:
        yield f"unix:{place}/s"
    finally:
        server.close()
        for writer in open_ends:
            writer.close()


@pytest.mark.parametrize("path", SCREENS)
async def test_with_everything_down_each_screen_says_so(open_web: Open, path: str) -> None:
    """
    No screen fails, spins or is bare: it names who does not answer and where, with a way to try again.
    """
    async with open_web(**NOBODY) as web:
        began = time.monotonic()
        page = await web.get(path)
        assert time.monotonic() - began < 8
        text = said(page)
        assert page.status_code == 200
        assert "OMEN down RiskCast down Reconciler down" in text
        if path != "copy":
            assert "does not answer at unix:/nowhere/" in text or path in {"ingest", "reconcile"}
        if path not in {"copy", "ingest"}:
            assert re.search(r'<a class="button quiet retry" href="[^"]*">Retry</a>', page.text)


async def test_orders_to_nobody_are_answered_in_words(open_web: Open) -> None:
    """
    Sending and reconciling with nobody there end on a page that says so.
    """
    async with open_web(**NOBODY) as web:
        page = await web.post("ingest/send", title="Nobody hears this")
        assert "503 UNAVAILABLE" in said(page)
        page = await web.post("reconcile/run", target="all")
        assert "Not reconciled: The reconciler does not answer" in said(page)
        page = await web.post("reconcile/pause")
        assert (page.status_code, "does not answer" in said(page)) == (502, True)


@pytest.mark.parametrize("lost", ["omen", "riskcast", "reconciler"])
async def test_one_server_down_leaves_the_rest(show: Show, open_web: Open, lost: str) -> None:
    """
    What the others know is shown all the same; nothing of theirs is taken for missing.
    """
    async with open_web(**show.stage.upstream | {lost: "unix:/nowhere/x"}) as web:
        for path in SCREENS:
            assert (await web.get(path)).status_code == 200
        text = said(await web.get(""))
        states = {"omen": "OMEN", "riskcast": "RiskCast", "reconciler": "Reconciler"}
        for name, label in states.items():
            assert f"{label} {'down' if name == lost else 'up'}" in text
        if lost == "riskcast":
            assert "Ledger-only while RiskCast is down. Reconcile will recover." in text


async def test_no_page_waits_for_a_server_that_never_answers(
    show: Show, open_web: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    A hung server is shown as being asked, on a page that is whole; when its deadline is over, as slow.
    """
    async with silent(tmp_path_factory.mktemp("s")) as nowhere:
        settings = show.stage.upstream | {"riskcast": nowhere}
        async with open_web(call_timeout_s=0.6, **settings) as web:
            page = await web.client.get("")
            assert page.status_code == 200
            top, _, rest = page.text.partition("<main")
            assert 'class="skeleton" role="status"' in top
            assert "Loading…" in top
            assert 'data-live="state-riskcast" data-tone="plain">asking<' in rest
            assert '<noscript><meta http-equiv="refresh" content="1"></noscript>' in rest
            assert "</html>" in rest

            async def is_slow() -> bool:
                found = await web.client.get("")
                return 'data-live="state-riskcast" data-tone="warn">slow<' in found.text

            async with asyncio.timeout(30):
                while not await is_slow():  # Each page waits for it a little.
                    pass


async def test_what_was_known_is_shown_as_stale(show: Show, open_web: Open) -> None:
    """
    When a server stops answering, its last figures stay, said to be stale and from when.
    """
    async with open_web(**show.stage.upstream) as web:
        before = await web.get("partitions")
        up = web.console.upstream
        await up.omen.close()
        await up.riskcast.close()
        gone = open_web(**NOBODY)
        async with gone as other:
            up.omen, up.riskcast = other.console.upstream.omen, other.console.upstream.riskcast
            await web.console.pulse.read(anew=True)
            page = await web.get("partitions")
        names = r'<td><a class="id" href="[^"]*">([^<]+)</a></td>'
        assert re.findall(names, page.text) == re.findall(names, before.text) != []
        assert "Stale" in said(page)
        assert "What you see is from" in said(page)


@pytest.mark.parametrize(("path", "status"), [("signals", 500), ("", 200)])
async def test_a_bug_is_a_page_with_a_way_on(
    show: Show, open_web: Open, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    """
    An error nobody foresaw ends in a page in words, without its text, also where the page has begun already.
    """
    async with open_web(**show.stage.upstream) as web:

        async def fails(**_: object) -> None:
            raise RuntimeError("a secret")

        monkeypatch.setattr(web.console.pulse, "read", fails)
        page = await web.get(path)
        assert (page.status_code, "a secret" in page.text) == (status, False)
        assert "Nothing was changed" in said(page)
        assert 'aria-label="Screens"' in page.text
        assert page.text.endswith("</html>")


async def test_a_key_that_is_missing_is_said_and_one_that_is_given_is_shown(open_web: Open, tmp_path: Path) -> None:
    """
    A server that wants a key refuses a console without one, which says so; with a file of the key it is let in.
    """
    key = tmp_path / "key"
    key.write_text("console:read:let-me-in")
    async with hosted(Scripted(), settings={"api_keys": SecretStr(key.read_text())}) as server:
        own = NOBODY | {"omen": str(server.address)}
        async with open_web(**own) as web:
            page = await web.get("signals/OMEN-STAGE00001")
            assert "OMEN refused" in said(page)
            assert "API_KEY_MISSING" not in said(page)
            assert re.search(r"needs an API key|API key", said(page))
        async with open_web(omen_api_key_file=key, **own) as web:
            answer = await web.console.upstream.ask("omen", web.console.upstream.omen.signal("OMEN-STAGE00001"))
            assert (answer.trouble, answer.value is None) == (None, False)


async def test_a_server_that_starts_is_not_called_down(open_web: Open) -> None:
    """
    While a server recovers, pages say that it is starting, and when to look again.
    """
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_timeout_s=1.0)
    server = Server("test-server", Loaded(settings, {}), {SIGNALS: Scripted()})
    await server.open()
    try:
        async with open_web(**NOBODY | {"omen": str(server.address)}) as web:
            answer = await web.console.upstream.ask("omen", web.console.upstream.omen.signal("OMEN-STAGE00001"))
            assert answer.trouble is not None
            assert answer.trouble.state == "starting"
            assert "is recovering" in said(await web.get("signals/OMEN-STAGE00001"))
    finally:
        await server.close()

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from omen_console.app import application, assembled
from omen_console.console import Console
from omen_console.settings import ConsoleSettings
from omen_console.upstream import open_upstream
from omen_rpc.settings import Loaded
from tests.console.stage import Stage, seeded

# A page that looks again by itself, as it was drawn without some of the answers.
ASKS = re.compile(r'<main [^>]*data-asks=|http-equiv="refresh" content="1"')
PATIENCE_S = 20.0
SCREENS = ("", "partitions", "partition", "signals", "reconcile", "ingest", "proof", "copy", "system")


@dataclass(frozen=True)
class Show:
    """
    The stage with two consoles on it, and what every screen showed before there was a signal.
    """

    stage: Stage
    root: str
    below: str
    empty: dict[str, httpx.Response]


@dataclass(frozen=True)
class Web:
    """
    A console in the test's own process, and a browser's part of the talk with it.
    """

    console: Console
    client: httpx.AsyncClient

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """
        Get a page below the base path; as a browser does, again while it still asks: a busy machine is slow, not wrong.
        """
        async with asyncio.timeout(PATIENCE_S):
            page = await self.client.get(path, **more)
            while ASKS.search(page.text):
                page = await self.client.get(path, **more)
            return page

    async def token(self) -> str:
        """
        Return a token that fits the cookie this client has.
        """
        await self.client.get("ingest")
        return self.console.gate.token(self.client.cookies["omen_console"])

    async def post(self, path: str, **form: str) -> httpx.Response:
        """
        Send a form as a page of the console does, and follow where it leads.
        """
        data = {"token": await self.token(), **form}
        return await self.client.post(path, data=data, follow_redirects=True)


Open = Callable[..., AbstractAsyncContextManager[Web]]


@pytest.fixture(scope="session")
def show() -> Iterator[Show]:
    """
    Run the servers and two consoles, one of them below a path and read-only. Tests share them.
    """
    stage = Stage()
    try:
        stage.start("riskcast_server", "omen_server", "reconciler")
        found: dict[str, str] = {}
        flags = {"root": (), "below": ("--base-path=/x/y", "--read-only")}
        threads = [
            threading.Thread(target=lambda name=name: found.update({name: stage.console(*flags[name])}))
            for name in flags
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with httpx.Client(base_url=found["root"]) as client:
            empty = {path: complete(client, path) for path in SCREENS}
        seeded(stage.address("omen_server"))
        yield Show(stage, found["root"], found["below"], empty)
    finally:
        codes = stage.close()
    assert set(codes) == {0}


def complete(client: httpx.Client, path: str) -> httpx.Response:
    """
    Return a page as soon as it has all of its answers.
    """
    until_s = time.monotonic() + PATIENCE_S
    page = client.get(path)
    while ASKS.search(page.text) and time.monotonic() < until_s:
        page = client.get(path)
    return page


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Web]:
    """
    Open a console in this process.
    """
    chosen = ConsoleSettings(**settings)
    async with open_upstream(chosen) as upstream:
        console = assembled(Loaded(chosen, {}), upstream)
        transport = httpx.ASGITransport(application(console), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1{chosen.base_path}") as client:
            yield Web(console, client)
        await console.close()


@pytest.fixture
async def web(show: Show) -> AsyncIterator[Web]:
    """
    Return a writable console in front of the stage.
    """
    async with opened(**show.stage.upstream) as made:
        yield made


@pytest.fixture
def open_web() -> Open:
    """
    Return what opens a console with settings of a test's own.
    """
    return opened

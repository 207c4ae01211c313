from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.hostile.vitals import MIB, caller, check_back, vitals
from tests.processes import ServerProcess, running

# Short, so that a test waits for what a server does and not for long. Two seconds of handshake, as machines are busy.
TIMEOUTS = ("--body-timeout-s=0.5", "--write-timeout-s=0.5", "--handshake-timeout-s=2")
KEYS = "reader:read:reader-key\nwriter:ingest:writer-key\n"
CLOSING_MAX = 100
ALL_GROWTH_BYTES_MAX = 96 * MIB  # The allocator keeps what one attack needed for the next.
FIGURES = pytest.StashKey[Any]()


def pytest_configure(config: pytest.Config) -> None:
    """
    Make a place for figures.
    """
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """
    Print the figures of the campaign.
    """
    if config.stash.get(FIGURES, []):
        terminalreporter.section("what hostile peers cost")
        for line in sorted(config.stash[FIGURES]):
            terminalreporter.write_line(line)


@pytest.fixture
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """
    Return what keeps a line for the end of the run.
    """
    lines: list[str] = pytestconfig.stash[FIGURES]
    return lines.append


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a file with the keys of all servers here.
    """
    file = tmp_path_factory.mktemp("hostile") / "keys"
    file.write_text(KEYS)
    return file


@pytest.fixture(scope="session")
def arguments(keys: Path) -> tuple[str, ...]:
    """
    Return how servers are started here.
    """
    return (f"--data-dir={keys.parent}", "--riskcast=127.0.0.1:9", f"--api-keys-file={keys}", *TIMEOUTS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    root: Path,
    arguments: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
) -> AsyncIterator[ServerProcess]:
    """
    Run one server for the tests of a module. It ends holding no more than after its first calls, and drains.
    """
    # A ledger of its own: some tests start a second server, and a ledger has one.
    own = f"--data-dir={tmp_path_factory.mktemp('module')}"
    async with running("omen-server", *arguments, own, cwd=root) as server:
        async with caller(server.address) as normal:
            for _ in range(50):  # What a server takes for its first calls is no leak.
                await normal.call()
        before = await vitals(server)
        yield server
        after = await check_back(server, before, growth_bytes_max=ALL_GROWTH_BYTES_MAX)
        name = Path(request.node.nodeid).stem
        pytestconfig.stash[FIGURES].append(
            f"{name}: memory {before.resident_bytes // MIB} MB, after all of it {after.resident_bytes // MIB} MB"
        )
        assert await server.stop() == 0
        assert not [line for line in server.lines if line["event"] == "text" and not is_grpcs_own(line["text"])]


@pytest_asyncio.fixture(loop_scope="module")
async def server(process: ServerProcess) -> AsyncIterator[ServerProcess]:
    """
    Return the server, and look after it afterwards: it answers on an open channel and on a new one, holds no call, and
    memory and descriptors are where they were, but for connections it has not closed yet.
    """
    before = await vitals(process)
    async with aftermath(process):
        yield process
    await check_back(process, before, closing=CLOSING_MAX)


@pytest_asyncio.fixture(loop_scope="module")
async def besieged(process: ServerProcess) -> AsyncIterator[ServerProcess]:
    """
    Return the server, and look after it the same way, but wait until every connection is closed.
    """
    before = await vitals(process)
    async with aftermath(process):
        yield process
    await check_back(process, before)


@asynccontextmanager
async def aftermath(server: ServerProcess) -> AsyncIterator[None]:
    """
    Check after the block that a channel opened before it works, and a new one.
    """
    async with caller(server.address) as normal:
        await normal.call()
        yield
        await normal.call()
    async with caller(server.address) as another:
        await another.call()


def is_grpcs_own(text: str) -> bool:
    """
    Whether a line that is no JSON is of the traceback grpc.aio prints past every log when a call is reset before its
    task ran. It names grpc's source and nothing a caller sent.
    """
    return text.startswith(
        ("Traceback (most recent", '  File "src/python/grpcio/', "asyncio.exceptions.CancelledError")
    )

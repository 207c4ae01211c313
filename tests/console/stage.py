"""
A stage for the console: real servers on sockets of their own that can be killed and started again, and consoles.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import OmenSignal
from omen_client import OmenClient
from omen_rpc.confidence_level import confidence_level
from tests.e2e.pair import SOON
from tests.processes import tree_environment

SEALED, LATE = "2026-01-28", "2026-01-28-late"
START_LINES_MAX = 50
STOP_TIMEOUT_S = 30
TITLES = ("Red Sea transit disruption", "Suez canal delay probability", "Strait of Hormuz closure", "Port strike")


class Stage:
    """
    OMEN, RiskCast and a reconciler that waits to be told, in one directory; and any number of consoles.
    """

    def __init__(self) -> None:
        self.place = Path(mkdtemp(prefix="omen-stage-"))  # A short path: a socket's may have 107 characters.
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._flags: dict[str, Sequence[str]] = {
            "riskcast_server": (f"--store=sqlite:///{self.place}/riskcast.db",),
            "omen_server": (f"--data-dir={self.place}", f"--riskcast={self.address('riskcast_server')}", *SOON),
            "reconciler": (
                f"--state=sqlite:///{self.place}/reconcile.db",
                f"--omen={self.address('omen_server')}",
                f"--riskcast={self.address('riskcast_server')}",
                "--interval=86400",
            ),
        }

    @property
    def upstream(self) -> dict[str, str]:
        """
        Return the settings that lead a console here.
        """
        names = {"omen": "omen_server", "riskcast": "riskcast_server", "reconciler": "reconciler"}
        return {name: self.address(module) for name, module in names.items()}

    def address(self, module: str) -> str:
        """
        Return where a server listens.
        """
        return f"unix:{self.place}/{module}.sock"

    def pid(self, name: str) -> int:
        """
        Return the process of a server or a console.
        """
        return self._running[name].pid

    def start(self, *modules: str) -> None:
        """
        Start servers side by side, and return when all serve.
        """
        begun = [
            (module, self._begin(module, f"--listen={self.address(module)}", *self._flags[module]))
            for module in modules
        ]
        for module, process in begun:
            self._running[module] = process
            serving(process)

    def console(self, *flags: str) -> str:
        """
        Start a console and return its address, with the base path.
        """
        leads = [f"--{name}={address}" for name, address in self.upstream.items()]
        process = self._begin("omen_console", "--listen=127.0.0.1:0", *leads, *flags)
        url = str(serving(process)["url"])
        self._running[url] = process
        return url

    def stop(self, name: str) -> int:
        """
        Stop a server or a console as an orchestrator would, and return its exit code.
        """
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(STOP_TIMEOUT_S)
        finally:
            drain(process)

    def kill(self, module: str) -> None:
        """
        Kill a server as a power cut would.
        """
        process = self._running.pop(module)
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
        drain(process)

    def close(self) -> list[int]:
        """
        Stop everything, and return the exit codes.
        """
        processes = list(self._running.values())
        for process in reversed(processes):
            process.terminate()
        codes = [process.wait(STOP_TIMEOUT_S) for process in processes]
        for process in processes:
            drain(process)
        shutil.rmtree(self.place, ignore_errors=True)
        return codes

    def _begin(self, module: str, *flags: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, "--metrics-port=0", "--log-format=json", *flags],
            env=tree_environment(),
            cwd=self.place,
            stderr=subprocess.PIPE,
            text=True,
        )


def serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    """
    Return the line in which a program says that it serves.
    """
    assert process.stderr is not None
    said = ""
    for _ in range(START_LINES_MAX):
        line = process.stderr.readline()
        said += line
        if '"event":"serving"' in line:
            found: dict[str, Any] = json.loads(line)
            return found
        if not line:
            break
    raise AssertionError(f"it does not serve:\n{said}")


def drain(process: subprocess.Popen[str]) -> None:
    """
    Close what a process wrote to.
    """
    if process.stderr is not None:
        process.stderr.close()


@asynccontextmanager
async def one_more_subscriber(omen: OmenClient) -> AsyncIterator[None]:
    """
    Return from the block when OMEN has one live subscriber more than before: what is emitted then reaches it.
    """

    async def known() -> set[str]:
        return {f"{each.peer} {each.since}" async for each in omen.operations.subscribers() if each.live}

    before = await known()
    yield
    async with asyncio.timeout(30):
        while not await known() - before:  # noqa: ASYNC110 - nobody is told of a subscriber
            await asyncio.sleep(0.02)


def signals(count: int, first: int, emitted_at: datetime | None = None) -> list[pb.EmitSignalItem]:
    """
    Return ready signals of all categories.
    """
    items = []
    for number in range(first, first + count):
        score = number % 10 / 10
        made = OmenSignal(
            signal_id=f"OMEN-STAGE{number:05d}",
            title=f"{TITLES[number % len(TITLES)]} {number}",
            probability=number % 7 / 7,
            confidence_score=score,
            confidence_level=confidence_level(score),
            category=number % 8 + 1,  # type: ignore[arg-type]  # An enum is a number.
        )
        item = pb.EmitSignalItem(signal=made)
        item.observed_at.FromDatetime(datetime.now(UTC) - timedelta(hours=2))
        if emitted_at is not None:
            item.emitted_at.FromDatetime(emitted_at + timedelta(seconds=number))
        items.append(item)
    return items


async def seed(address: str) -> None:
    """
    Fill the ledger: a sealed day, its late arrivals, and an open day, which is today.
    """
    async with OmenClient(address) as omen:
        day = datetime(2026, 1, 28, 10, tzinfo=UTC)
        for items in (signals(60, 1, day), signals(1, 90), signals(12, 100)):
            for outcome in await omen.emit_all(items):
                assert not isinstance(outcome, Exception), outcome
        await omen.seal(SEALED, force=True)
        await omen.emit_all(signals(1, 70, day))


def seeded(address: str) -> None:
    """
    Fill the ledger from a test that has no loop.
    """
    asyncio.run(seed(address))

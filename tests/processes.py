"""
Real server processes for tests: started as a user would, known by their own log lines, ended by their pids.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 40.0
# What the programs read from the environment.
PREFIXES = ("OMEN_", "RISKCAST_", "RECONCILER_", "CONSOLE_")


def tree_environment() -> dict[str, str]:
    """
    Return an environment in which programs run from this tree, wherever the installed ones come from, and unset.
    """
    root = Path(__file__).parent.parent
    dropped = (*PREFIXES, "PYTHONUNBUFFERED")  # With it nobody would see what is written too late.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    own = {"OMEN_CONTEXTS_FILE": os.fspath(root / "no-contexts.json")}  # Whoever runs the tests may have contexts.
    return inherited | own | {"PYTHONPATH": os.pathsep.join(str(root / part) for part in ("", "proto", "clients"))}


class ServerProcess:
    """
    One running server, with every line it logged.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """
        The process's id.
        """
        return self.process.pid

    @property
    def address(self) -> str:
        """
        Where it serves.
        """
        return str(self._serving()["address"])

    @property
    def web(self) -> str:
        """
        Where its metrics are.
        """
        return str(self._serving()["metrics"])

    async def line(self, event: str, timeout_s: float = START_TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """
        Wait for the first line of *event* that says this of its *fields*.
        """
        async with asyncio.timeout(timeout_s), self._arrived:
            while True:
                for line in self.lines:
                    if line.get("event") == event and fields.items() <= line.items():
                        return line
                if self._reader.done():
                    raise AssertionError(
                        f"ended with {self.process.returncode} before {event!r}:\n" + "".join(self.raw)
                    )
                await self._arrived.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """
        Send a signal, wait for the end, and return the exit code.
        """
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        """
        Wait for the end and return the exit code.
        """
        async with asyncio.timeout(STOP_TIMEOUT_S):
            code = await self.process.wait()
            await self._reader
        return code

    def _serving(self) -> dict[str, Any]:
        return next(line for line in self.lines if line["event"] == "serving")

    async def _read(self) -> None:
        stream = self.process.stderr
        if stream is None:
            raise AssertionError("stderr is no pipe")
        async for raw in stream:
            async with self._arrived:
                self.raw.append(raw.decode(errors="replace"))
                try:
                    self.lines.append(json.loads(raw))
                except ValueError:
                    self.lines.append({"event": "text", "text": raw.decode(errors="replace")})
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()


@asynccontextmanager
async def running(
    program: str, *arguments: str, cwd: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[ServerProcess]:
    """
    Run a server on free loopback ports until the block ends; it is killed if the block did not end it.

    Its data lie in a directory of its own that goes with it, unless the arguments name another.
    """
    with TemporaryDirectory(prefix="omen-test-", ignore_cleanup_errors=True) as place:
        own = {
            "omen-server": (f"--data-dir={place}",),
            "riskcast-server": (f"--store=sqlite:///{place}/riskcast.db",),
            "omen-reconciler": (f"--state=sqlite:///{place}/reconcile.db",),
        }
        server = await started(program, *own.get(program, ()), *arguments, cwd=cwd, environment=environment)
        try:
            await server.line("serving")
            yield server
        finally:
            if server.process.returncode is None:
                server.process.kill()
            await server.wait()


async def started(program: str, *arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> ServerProcess:
    """
    Start a server and return at once. A flag given twice counts as given last.
    """
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / program,
        "--listen=127.0.0.1:0",
        "--metrics-port=0",
        *arguments,
        cwd=cwd,
        env=tree_environment() | (environment or {}),
        stderr=asyncio.subprocess.PIPE,
    )
    return ServerProcess(process)

"""
A process that has a program imported, and is it again and again within a tenth of a second: see `tests.e2e.forking`.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.processes import tree_environment

STEP_TIMEOUT_S = 40.0
LOOK_AGAIN_S = 0.01


class Nest:
    """
    Where the lives of one program come from, one at a time.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = 0

    async def begin(self, *line: str, **how: Any) -> None:
        """
        Begin a life with this command line; see `tests.e2e.forking` for how it may end.
        """
        self._log.unlink(missing_ok=True)
        self._tell(json.dumps({"line": line, "log": str(self._log), **how}).encode() + b"\n")
        self.pid = (await self.told())["pid"]

    async def serve(self, *line: str) -> None:
        """
        Begin a life that serves, and return when it does.
        """
        await self.begin(*line)
        async with asyncio.timeout(STEP_TIMEOUT_S):
            while '"event":"serving"' not in self.said.replace(" ", ""):
                assert (Path("/proc") / str(self.pid)).exists(), self.said
                await asyncio.sleep(LOOK_AGAIN_S)

    async def told(self) -> dict[str, Any]:
        """
        Return the next thing that is told of the life.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(STEP_TIMEOUT_S):
            return dict(json.loads(await self._process.stdout.readline()))

    async def ended(self) -> int:
        """
        Wait for the life's end, and return its exit code, below 0 for the signal that ended it.
        """
        while "ended" not in (told := await self.told()):
            pass
        self.pid = 0
        return int(told["ended"])

    async def kill(self) -> None:
        """
        End the life by SIGKILL.
        """
        os.kill(self.pid, signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    def go_on(self) -> None:
        """
        Let a life that waits go on.
        """
        self._tell(b".")

    @property
    def said(self) -> str:
        """
        What the life has said on stdout and stderr.
        """
        return self._log.read_text() if self._log.exists() else ""

    def _tell(self, what: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what)


@asynccontextmanager
async def nest(module: str, place: Path) -> AsyncIterator[Nest]:
    """
    Have a program ready to be run while the block runs.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.e2e.forking",
        module,
        cwd=Path(__file__).parents[2],
        env=tree_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = Nest(process, place / f"{module}.log")
    try:
        assert "ready" in await made.told()
        yield made
    finally:
        if made.pid:
            with suppress(ProcessLookupError):
                os.kill(made.pid, signal.SIGKILL)
        process.kill()
        await process.wait()

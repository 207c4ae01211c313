"""
One server of the soak: a process of its own that can die, come back where it was, and be looked into from outside.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
LOOK_S = 0.05
TASKS = "omen_server_tasks "


def free_address() -> str:
    """
    Return an address on loopback that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Sample:
    """
    What a process held at one moment.
    """

    at_s: float
    pid: int
    figures: dict[str, float]


@dataclass(slots=True)
class Process:
    """
    A server's program, flags and data, and the process that runs it now.
    """

    name: str
    module: str
    flags: Sequence[str]
    place: Path
    databases: Sequence[str]
    address: str = field(default_factory=free_address)
    web: str = field(default_factory=free_address)
    samples: list[Sample] = field(default_factory=list)
    starts: int = 0
    _process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """
        Where all of its processes write.
        """
        return self.place / f"{self.name}.log"

    @property
    def runs(self) -> bool:
        """
        Whether there is a process now.
        """
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """
        Start the program and return when it serves.
        """
        own = (f"--listen={self.address}", f"--metrics-port={self.web.rpartition(':')[2]}", "--log-format=json")
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, *own, *self.flags, stdout=log, stderr=log, cwd=self.place
            )
        self.starts += 1
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await asyncio.to_thread(self._ready):
                if not self.runs:
                    raise RuntimeError(f"{self.name} ended with {self._process.returncode}; see {self.log}")
                await asyncio.sleep(LOOK_S)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """
        Send a signal and return the exit code.
        """
        if self._process is None:
            return 0
        if self.runs:
            self._process.send_signal(number)
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await self._process.wait()

    async def look(self, at_s: float) -> None:
        """
        Keep what the process holds now; nothing while there is none.
        """
        process = self._process
        if process is None or not self.runs:
            return
        try:
            text = await asyncio.to_thread(self._get, "/metrics")
            tasks = next(float(line.split()[1]) for line in text.splitlines() if line.startswith(TASKS))
            figures = {"tasks": tasks, **of_kernel(process.pid)}
        except (OSError, HTTPException):  # It is going, or has just gone.
            return
        figures["wal_bytes"] = float(sum(size(self.place / f"{name}-wal") for name in self.databases))
        self.samples.append(Sample(at_s, process.pid, figures))

    def lines(self) -> Iterator[dict[str, Any]]:
        """
        Yield every line it logged; one that is no JSON as ``text``.
        """
        with self.log.open(errors="replace") as log:
            for line in log:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"text": line.rstrip("\n")}

    def _ready(self) -> bool:
        try:
            return self._get("/readyz") == "ok\n"
        except OSError:
            return False

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.web}{path}", timeout=5) as reply:
            return str(reply.read().decode())


def of_kernel(pid: int) -> dict[str, float]:
    """
    Return what the kernel says a process holds. One that is going has let go of its memory first.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.strip()}
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {pid} is going")
    return {
        "resident_bytes": float(status["VmRSS"]) * 1024,
        "descriptors": float(len(os.listdir(f"/proc/{pid}/fd"))),  # noqa: PTH208 - a count, of thousands at times
        "threads": float(status["Threads"]),
    }


def size(path: Path) -> int:
    """
    Return a file's size, 0 when there is none.
    """
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

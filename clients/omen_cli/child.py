"""
One server as `omen up` runs it: a process of its own that is started again when it dies.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from omen_cli import exits
from omen_rpc.health import READINESS, SERVING, HealthCheckRequest, HealthCheckResponse

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 45.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
LOG_TAIL_BYTES = 4096
REFUSED_SETTINGS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How to run one server.
    """

    label: str
    module: str
    address: str
    arguments: Sequence[str]
    log: Path


class Child:
    """
    A running server. It has a session of its own, so that Ctrl-C reaches it once, through us.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._say = say
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """
        The process's id; 0 while there is none.
        """
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """
        Start the server and return when it serves; Stopped when it ends first or takes too long.
        """
        self.plan.log.parent.mkdir(parents=True, exist_ok=True)
        with self.plan.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.plan.module, *self.plan.arguments, stderr=log, start_new_session=True
            )
        ended = asyncio.ensure_future(self._process.wait())
        ready = asyncio.ensure_future(serves(self.plan.address))
        try:
            await asyncio.wait((ended, ready), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                what = f"ended with code {ended.result()}" if ended.done() else f"is not up after {START_TIMEOUT_S:g} s"
                text = f"{self.plan.label} {what}: {self.last_words()}"
                raise exits.Stopped(exits.PROBLEM, "SERVER_DOWN", text, f"See {self.plan.log}.")
        finally:
            ended.cancel()
            ready.cancel()

    async def keep(self) -> None:
        """
        Start the server again whenever it ends; raises Stopped when it refuses its settings.
        """
        backoff_s = BACKOFF_FIRST_S
        while True:
            if self._process is None:
                raise RuntimeError("keep comes after start")
            began = asyncio.get_running_loop().time()
            code = await self._process.wait()
            if code == REFUSED_SETTINGS:
                raise exits.Stopped(exits.PROBLEM, "SERVER_DOWN", self.last_words(), f"See {self.plan.log}.")
            if asyncio.get_running_loop().time() - began > BACKOFF_MAX_S:
                backoff_s = BACKOFF_FIRST_S
            self._say(f"{self.plan.label} ended with code {code}; starting it again in {backoff_s:g} s")
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            with suppress(exits.Stopped):  # It ended again: the next round waits longer.
                await self.start()
                self._say(f"{self.plan.label} serves again on {self.plan.address}")

    async def stop(self) -> None:
        """
        Let the server drain; one that takes too long is killed.
        """
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.plan.label} does not stop; killing it")
            process.kill()
            await process.wait()

    def last_words(self) -> str:
        """
        Return the last line the server logged.
        """
        lines = self.plan.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


async def serves(address: str) -> None:
    """
    Return when the server at *address* says that it is ready.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        watch: Any = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        async for reply in watch(HealthCheckRequest(service=READINESS), wait_for_ready=True):
            if reply.status == SERVING:
                return

"""
One server as `omen up` runs it: a process of its own that is started again when it dies.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from omen_cli import exits
from omen_cli.running.headway import Headway
from omen_cli.running.process import NOTHING, Process, started
from omen_cli.running.ready import answers, serves

State: TypeAlias = Literal["down", "starting", "serving", "waiting", "held"]

# A server that is not up is given up when it has got no further for so long: an index of millions takes minutes.
PATIENCE_S = 30.0
LOOKED_EVERY_S = 0.5
STOP_TIMEOUT_S = 45.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
LOG_TAIL_BYTES = 4096
LOG_BYTES_MAX = 10 << 20
REFUSED_SETTINGS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How to run one server. A web server is ready when it answers HTTP, any other when its health says so; where its
    *metrics* are known, they tell how far its start is.
    """

    label: str
    module: str
    address: str
    arguments: Sequence[str]
    log: Path
    web: bool = False
    environment: Mapping[str, str] | None = None
    metrics: str = ""

    @property
    def name(self) -> str:
        """
        What a user calls it.
        """
        return self.label.lower()


class Child:
    """
    A running server. It has a session of its own, so that Ctrl-C reaches it once, through us.

    *changed* is told whenever its process or its state is another.
    """

    def __init__(
        self,
        plan: Plan,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.plan = plan
        self._patience_s = patience_s
        self.state: State = "down"
        self.restarts = 0
        self._say = say
        self._changed = changed
        self._process: Process | None = None
        self._log_start = 0
        self._serving = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._hurry = asyncio.Event()

    @property
    def pid(self) -> int:
        """
        The process's id; 0 while there is none.
        """
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """
        Start the server and return when it serves; Stopped when it ends first or gets no further.
        """
        await self._spawn()
        if self._process is None:
            raise RuntimeError("spawning made no process")
        waited = answers if self.plan.web else serves
        ended = asyncio.ensure_future(self._process.wait())
        ready = asyncio.ensure_future(waited(self.plan.address))
        try:
            await self._one_of(ended, ready)
            if ended.done() or not ready.done():
                raise self._down(ended.result() if ended.done() else None)
            ready.result()
        finally:
            ended.cancel()
            ready.cancel()
        self._serving.set()
        self._become("serving")

    async def keep(self) -> None:
        """
        Start the server again whenever it ends, unless it is held down, for ever: also when its port or its disk is
        somebody else's for a while. Whoever looks is told why each time.
        """
        backoff_s = BACKOFF_FIRST_S
        while True:
            if self._process is None:
                raise RuntimeError("keep comes after start")
            began_s = asyncio.get_running_loop().time()
            code = await self._process.wait()
            self._serving.clear()
            if self._free.is_set():
                if asyncio.get_running_loop().time() - began_s > BACKOFF_MAX_S:
                    backoff_s = BACKOFF_FIRST_S
                why = "" if code < 0 else f" ({self.last_words()})"
                self._say(f"{self.plan.label} ended with code {code}{why}; starting it again in {backoff_s:g} s")
                await self._pause(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            if not self._free.is_set():
                self._become("held")
                await self._free.wait()
                backoff_s = BACKOFF_FIRST_S
            self.restarts += 1
            with suppress(exits.Stopped):  # It ended again: the next round waits longer.
                await self.start()
                self._say(f"{self.plan.label} serves again on {self.plan.address}")

    async def kill(self, *, hold: bool) -> int:
        """
        Kill the process at once and return its id, 0 when there was none; *hold* keeps it down until `let_up`.
        """
        if hold:
            self._free.clear()
            self._hurry.set()
        self._serving.clear()
        pid = self.pid
        if self._process is not None and pid:
            self._process.kill()
            await self._process.wait()
        if hold:
            self._become("held")
        return pid

    async def let_up(self) -> None:
        """
        Let a server that is held down, or waits to be started again, start now; return when it serves.
        """
        self._free.set()
        self._hurry.set()
        await self.back()

    async def back(self) -> None:
        """
        Return when the server serves; Stopped when it gets no further.
        """
        serving = asyncio.ensure_future(self._serving.wait())
        try:
            await self._one_of(serving)
            if not serving.done():
                raise self._down(None)
        finally:
            serving.cancel()

    async def stop(self) -> None:
        """
        Let the server drain; one that takes too long is killed.
        """
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                self._say(f"{self.plan.label} does not stop; killing it")
                process.kill()
                await process.wait()
        self._become("down")

    def end(self) -> None:
        """
        Kill the process, and wait for nothing.
        """
        if self._process is not None and self.pid:
            self._process.kill()

    def last_words(self) -> str:
        """
        Return the last line the server logged since it was started, in words.
        """
        words = self.said()[-LOG_TAIL_BYTES:].splitlines()
        return in_words(words[-1]) if words else "it said nothing"

    def said(self) -> str:
        """
        Return what the server logged since it was started, the first and last of it when that is much.
        """
        try:
            with self.plan.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read(LOG_BYTES_MAX).decode(errors="replace")
        except OSError as error:
            return f"its log cannot be read: {error.strerror}"

    async def _one_of(self, *awaited: "asyncio.Future[Any]") -> None:
        """
        Return when one of them is done, or when the server has got no further for as long as it may.
        """
        now: Callable[[], float] = asyncio.get_running_loop().time
        headway, moved_s, said_s = Headway(self.plan.metrics), now(), now()
        while now() - moved_s < self._patience_s:
            done, _ = await asyncio.wait(awaited, timeout=LOOKED_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            if await headway.look():
                moved_s = now()
            if now() - said_s >= self._patience_s / 3 and self.state == "starting":
                self._say(f"{self.plan.label} is still starting: {headway.words}")
                said_s = now()

    async def _spawn(self) -> None:
        self._hurry.clear()
        try:
            self._log_start = make_room(self.plan.log)
            with self.plan.log.open("ab") as log:
                self._process = started(
                    self.plan.module,
                    *self.plan.arguments,
                    stdin=NOTHING,
                    stdout=log,
                    stderr=log,
                    own_session=True,
                    env=self.plan.environment,
                )
        except OSError as error:
            text = f"{self.plan.label} cannot be started: {error.filename or self.plan.log}: {error.strerror}"
            raise exits.Stopped(
                exits.PROBLEM, "SERVER_DOWN", text, "Make room, or let this user write there."
            ) from None
        self._become("starting")

    async def _pause(self, seconds: float) -> None:
        self._become("waiting")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _down(self, code: int | None) -> exits.Stopped:
        """
        Return how to say that it is not up: it ended with *code*, or takes too long.
        """
        what = (
            f"is not up, and got no further for {self._patience_s:g} s" if code is None else f"ended with code {code}"
        )
        text = f"{self.plan.label} {what}: {self.last_words()}"
        remedy = f"See {self.plan.log}."
        if code == REFUSED_SETTINGS:
            remedy = f"Mend what it names, or start in another place with --data-dir. Its log is {self.plan.log}."
        return exits.Stopped(exits.PROBLEM, "SERVER_DOWN", text, remedy)

    def _become(self, state: State) -> None:
        self.state = state
        self._changed()


def make_room(log: Path) -> int:
    """
    Return how long a log is already; one that has grown too long is set aside in place of the one before.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    size = log.stat().st_size if log.exists() else 0
    if size < LOG_BYTES_MAX:
        return size
    log.replace(log.with_suffix(".log.1"))
    return 0


def in_words(line: str) -> str:
    """
    Return a line of a log without what only machines read.
    """
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return line.partition(": ")[2] or line  # Refusals are `program: text`.
    if not isinstance(entry, dict):
        return line
    return str(entry.get("text") or entry.get("exception") or entry.get("event") or line).strip().splitlines()[-1]

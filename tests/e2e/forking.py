"""
Runs a server program again and again in forks of a process that has it imported, and kills the reconciler's where told.

    python -m tests.e2e.forking MODULE

Each line on stdin is a life: ``{"line": […], "log": FILE, "step": "before save", "nth": 1, "deed": "die"}``. It is told
of in lines on stdout: its pid, the step it came to, how it ended. A step is what a round does to somebody else: a call,
or a use of its state. At the n-th such one the life dies by SIGKILL, waits for a byte on stdin, or says so and goes on.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from google.protobuf.message import Message

from omen_rpc.channel import Connection
from reconciler import app
from reconciler.state import State, open_state

# Before a call is all the same as after the one before; not so where that one has changed something.
CHANGES = ("IngestBatch", "ConfirmReconciled", "save", "forget", "count_attempts", "hold", "release")


class Steps:
    """
    Looks out for one step of a life, and does there what is to be done.
    """

    def __init__(self, at: str, nth: int, deed: str) -> None:
        self._at = at
        self._left = nth
        self._deed = deed

    def reach(self, name: str) -> None:
        """
        Come to a step.
        """
        self._left -= name == self._at
        if name != self._at or self._left:
            return
        say(step=name)
        if self._deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._deed == "wait":
            os.read(0, 1)

    def changed(self, name: str) -> None:
        """
        Come to the step after a call, if it may have changed something.
        """
        if name in CHANGES:
            self.reach(f"after {name}")

    def install(self, ahead_s: float) -> None:
        """
        Make a step of every call and every use of the state, and let the clock be ahead: a lease has run out by then.
        """
        call, stream = Connection.call, Connection.stream

        async def counted(own: Connection, method: Any, request: Message, **more: Any) -> Any:
            name = type(request).__name__.removesuffix("Request")
            self.reach(f"before {name}")
            reply = await call(own, method, request, **more)
            self.changed(name)
            return reply

        async def streamed(own: Connection, method: Any, request: Message, **more: Any) -> AsyncGenerator[Any, None]:
            self.reach(f"before {type(request).__name__.removesuffix('Request')}")
            async for reply in stream(own, method, request, **more):
                yield reply

        @asynccontextmanager
        async def opened(url: str) -> AsyncIterator[State]:
            async with open_state(url) as state:
                parts = (state.runs, state.parked, state.control, state.success)
                runs, parked, control, success = (stepping(part, self) for part in parts)
                yield State(runs, parked, control, success, state.engine)

        vars(app).update(open_state=opened, utc_now=lambda: datetime.now(UTC) + timedelta(seconds=ahead_s))
        for own, name, work in ((Connection, "call", counted), (Connection, "stream", streamed)):
            setattr(own, name, work)


class Stepping:
    """
    A part of the state whose methods are steps.
    """

    def __init__(self, part: object, steps: Steps) -> None:
        self._part = part
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        async def used(*some: Any, **more: Any) -> Any:
            self._steps.reach(f"before {name}")
            answer = await method(*some, **more)
            self._steps.changed(name)
            return answer

        return used


def stepping(part: object, steps: Steps) -> Any:
    """
    Return a part of the state whose methods are steps.
    """
    return Stepping(part, steps)


def say(**words: Any) -> None:
    """
    Tell the test; a line that was written is there after any SIGKILL.
    """
    os.write(OUT, json.dumps(words).encode() + b"\n")


def live(module: str, told: dict[str, Any]) -> int:
    """
    Be the program until it ends, and return its exit code.
    """
    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    steps = Steps(told.get("step", ""), told.get("nth", 1), told.get("deed", ""))
    if module.startswith("reconciler"):
        steps.install(told.get("ahead_s", 0.0))
    sys.argv = [module, *told["line"]]
    try:
        import_module(module).main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush()
    return 0


def main() -> None:
    """
    Let lives be lived until nobody asks for one.
    """
    module = sys.argv[1]
    import_module(module)
    say(ready=module)
    while line := read_line():
        child = os.fork()
        if not child:
            code = 70
            try:
                code = live(module, json.loads(line))
            finally:
                os._exit(code)  # A fork must not go on as its parent, whatever happened.
        say(pid=child)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


def read_line() -> bytes:
    """
    Read a line and not a byte more: what follows is for the child.
    """
    line = b""
    while (byte := os.read(0, 1)) and byte != b"\n":
        line += byte
    return line


if __name__ == "__main__":
    OUT = os.dup(1)
    main()

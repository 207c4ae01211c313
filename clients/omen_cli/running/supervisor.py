import asyncio
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from omen_cli import exits
from omen_cli.running.child import Child, Plan
from omen_cli.running.claim import claimed, end_left_behind
from omen_cli.running.processes import birth

# Who is stopped first: whoever calls others goes before those it calls.
ROOM_BYTES = 1 << 20  # Less than this, and nothing can be started.
STOPPED_TOGETHER = (("console", "reconciler"), ("omen",), ("riskcast",))


class Supervisor:
    """
    The servers of a data directory, while the block runs. How it is used is said in this package's docstring.
    """

    def __init__(self, directory: Path, plans: Sequence[Plan], say: Callable[[str], None]) -> None:
        self.directory = directory
        self._say = say
        self._children = {plan.name: Child(plan, say, self._write) for plan in plans}
        self._keepers: list[asyncio.Task[None]] = []
        self._held = ExitStack()
        self._more: Mapping[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._claim = self._held.enter_context(claimed(self.directory))
        try:
            for name in await end_left_behind(self.directory):
                self._say(f"an earlier omen up ended without stopping {name}; stopped it")
        except BaseException:
            self._held.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            self.end()
            self._claim.clear()
            self._held.close()

    @property
    def names(self) -> list[str]:
        """
        The servers' names.
        """
        return list(self._children)

    def child(self, name: str) -> Child:
        """
        Return one server; Stopped when there is none of that name.
        """
        if name not in self._children:
            text = f"there is no {name!r} here; there are {', '.join(self._children)}"
            raise exits.Stopped(exits.NOT_FOUND, "NO_SUCH_SERVER", text, "Name one of these.")
        return self._children[name]

    def address(self, name: str) -> str:
        """
        Return where a server is, or will be.
        """
        return self.child(name).plan.address

    def pid(self, name: str) -> int:
        """
        Return a server's process id; 0 while there is no process.
        """
        return self.child(name).pid

    async def start(self) -> None:
        """
        Start all servers at once and return when all serve; Stopped when one of them cannot.
        """
        starting = [asyncio.ensure_future(child.start()) for child in self._children.values()]
        try:
            await asyncio.gather(*starting)
        except exits.Stopped as error:
            raise on_full_disk(self.directory, error) from None
        finally:
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        self._keepers = [asyncio.create_task(child.keep(), name=name) for name, child in self._children.items()]

    async def kept(self) -> None:
        """
        Return never: whatever ends is started again. Raises what is wrong with us when that cannot go on.
        """
        await asyncio.gather(*self._keepers)

    async def kill(self, name: str, *, hold: bool = True) -> int:
        """
        Kill a server's process for real and return its id, 0 when there was none. It stays down until `let_up`, or
        without *hold* comes back by itself.
        """
        return await self.child(name).kill(hold=hold)

    async def let_up(self, name: str) -> None:
        """
        Let a server run that is held down, and return when it serves; at once when it does already.
        """
        await self.child(name).let_up()

    async def back(self, name: str) -> None:
        """
        Return when a server serves.
        """
        await self.child(name).back()

    async def stop(self) -> None:
        """
        Drain and stop all of them, whoever calls others first. A second call finds nothing to do.
        """
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        for together in STOPPED_TOGETHER:
            await asyncio.gather(*(self._children[name].stop() for name in together if name in self._children))

    def end(self) -> None:
        """
        Kill all of them at once.
        """
        for child in self._children.values():
            child.end()

    def tell(self, **more: Any) -> None:
        """
        Put more beside the servers into what the directory says of us.
        """
        self._more = {**self._more, **more}
        self._write()

    def rows(self) -> dict[str, dict[str, Any]]:
        """
        Return how each server is, by its name.
        """
        return {
            name: {
                "address": child.plan.address,
                "pid": child.pid,
                "born": birth(child.pid) if child.pid else "",
                "state": child.state,
                "restarts": child.restarts,
                "log": str(child.plan.log),
            }
            for name, child in self._children.items()
        }

    def _write(self) -> None:
        self._claim.write({**self._more, "servers": self.rows()})


def on_full_disk(directory: Path, error: exits.Stopped) -> exits.Stopped:
    """
    Return *error*, or that the disk is full: a server that cannot even log has no words for it.
    """
    free = shutil.disk_usage(directory).free
    if free >= ROOM_BYTES:
        return error
    text = f"the disk that {directory} lies on is full, {free:,} bytes are free: {error}"
    remedy = "Make room there, and start again: what was acknowledged is kept. Or give another place with --data-dir."
    return exits.Stopped(exits.PROBLEM, "DISK_FULL", text, remedy)


class Signals:
    """
    What Ctrl-C and SIGTERM do while the block runs: the first sets `told`, the next calls *harder*.
    """

    def __init__(self, harder: Callable[[], None]) -> None:
        self.told = asyncio.Event()
        self._harder = harder

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _on(self) -> None:
        if self.told.is_set():
            self._harder()
        self.told.set()

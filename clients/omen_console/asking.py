"""
Questions that pages ask again and again: each is under way once at most, and no page waits long for one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from omen_console.upstream import ASKING, COUNTING, NAMES, Answer, Trouble, Upstream

Value = TypeVar("Value")

# So long a page waits for what may come later: it is drawn without, says that it asks, and looks again.
PATIENCE_S: Final = 0.15
# So long an answer that nobody waited for is kept for whoever looks again: pages do after three seconds at most.
KEPT: Final = timedelta(seconds=6)
UNDER_WAY_MAX: Final = 64


class Asking:
    """
    Asks for pages, and goes on asking when they do not wait.
    """

    def __init__(self, upstream: Upstream, patience_s: float = PATIENCE_S) -> None:
        self._upstream = upstream
        self._patience_s = patience_s
        self._under_way: dict[tuple[str, str], asyncio.Task[Answer[Any]]] = {}

    async def ask(
        self,
        server: str,
        name: str,
        call: Callable[[], Awaitable[Value]],
        *,
        timeout_s: float | None = None,
        counting: str = "",
    ) -> Answer[Value]:
        """
        Return what *call* answers, or what it answered to somebody who did not wait; when that takes longer, what was
        answered earlier under the *name*, with the trouble that it is being asked, or what it is *counting*.
        """
        self._forget()
        key = (server, name)
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= UNDER_WAY_MAX:
                return self._upstream.earlier(server, name, asking(server))
            asked = self._upstream.ask(server, call(), remember=name, timeout_s=timeout_s)
            task = self._under_way[key] = asyncio.create_task(asked, name=f"asking {server} {name}")
        await asyncio.wait({task}, timeout=self._patience_s)
        if not task.done():
            return self._upstream.earlier(server, name, asking(server, counting))
        if self._under_way.get(key) is task:
            del self._under_way[key]
        return task.result()

    def expire(self) -> None:
        """
        Let nobody be given an answer that is there already: something is known to have changed.
        """
        self._under_way = {key: task for key, task in self._under_way.items() if not task.done()}

    async def close(self) -> None:
        """
        Wait for no answer any more.
        """
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self) -> None:
        """
        Forget answers that nobody came back for, and errors: whoever asks again meets them himself.
        """
        since = self._upstream.now() - KEPT
        for key, task in list(self._under_way.items()):
            if task.done() and (task.cancelled() or task.exception() is not None or task.result().at < since):
                del self._under_way[key]


def asking(server: str, counting: str = "") -> Trouble:
    """
    Return that a server has not answered yet, which is no fault; or that it is *counting*, in words.
    """
    remedy = "This page looks again by itself."
    if counting:
        return Trouble(server, COUNTING, "", "", counting, remedy)
    return Trouble(server, ASKING, "", "", f"{NAMES[server]} has been asked and has not answered yet.", remedy)

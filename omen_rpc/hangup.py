"""
Hanging up on a peer that takes nothing of its reply.

A status stands behind the data before it. A peer that never opens its window therefore keeps its call for as long as
its connection lives, and with it one of the places grpc has for calls: fifteen such connections fill a server, and a
health check is enough to make them. grpc lets a server cancel no call, but it resets one that nobody holds any more.
Two tasks hold it: the one that answers, and the one that started that and awaits the peer's end of the stream.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from omen_rpc import metrics
from omen_rpc.rate import RateLimit

ANSWERING = "_handle_exceptions"  # The name grpc.aio gives the coroutine of every task that answers a call.
STARTERS: WeakKeyDictionary[asyncio.Task[Any], asyncio.Task[Any]] = WeakKeyDictionary()
PATIENCE_S = 0.1
LOGGED = RateLimit(per_minute=60, burst=20)

log = structlog.get_logger()


class Leaving:
    """
    Calls that are answered and whose peers have not taken the answer.

    Each is hung up on after *wait_s*; one timer serves all, since all may wait equally long. When there are more than
    *calls_max* the one that waits longest makes room, so a flood of calls whose replies nobody takes keeps no place
    from a caller that takes its own.
    """

    def __init__(self, calls_max: int, wait_s: float) -> None:
        self._calls_max = calls_max
        self._wait_s = wait_s
        self._since: OrderedDict[asyncio.Task[Any], float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self) -> None:
        """
        Count the call that is being answered here, until its stream has ended at both ends.
        """
        task = asyncio.current_task()
        if task is None or task in self._since:
            return
        loop = task.get_loop()
        self._since[task] = loop.time()
        STARTERS.get(task, task).add_done_callback(lambda _ended: self._since.pop(task, None))
        if self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._hang_up_on_late_ones, loop)
        if len(self._since) > self._calls_max:
            oldest, since = next(iter(self._since.items()))
            if loop.time() - since > PATIENCE_S:  # Younger ones may be many replies that are just being sent.
                self._hang_up_on(oldest)

    def _hang_up_on_late_ones(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._since:
            task, since = next(iter(self._since.items()))
            left_s = since + self._wait_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._hang_up_on_late_ones, loop)
                return
            self._hang_up_on(task)

    def _hang_up_on(self, task: "asyncio.Task[Any]") -> None:
        del self._since[task]
        hang_up(task)


def remember_starters(loop: asyncio.AbstractEventLoop) -> None:
    """
    Keep, for every task of *loop* that answers a call, the task that started it.
    """
    if loop.get_task_factory() is None:
        loop.set_task_factory(make_task)  # type: ignore[arg-type]  # the types know one shape of a coroutine only


def make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> "asyncio.Task[Any]":
    """
    Make a task as the loop itself would.
    """
    task = asyncio.Task(coroutine, loop=loop, **options)
    if getattr(coroutine, "__name__", "") == ANSWERING:
        starter = asyncio.current_task(loop)
        if starter is not None:
            STARTERS[task] = starter
    return task


def hang_up(task: "asyncio.Task[Any]") -> None:
    """
    Let go of the call that *task* answers.
    """
    metrics.RPC_CALLS_RESET.inc()
    if not LOGGED.take("", 1):
        log.warning("hung_up", task=task.get_name())
    starter = STARTERS.get(task)
    if starter is not None:
        starter.cancel()
    task.cancel()

"""
What stands before RiskCast: the breaker, then backpressure.

The breaker counts calls, backpressure counts attempts. A call that must not be made is not put off first, and a probe
is not put off either: the breaker's own pause was longer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from omen_rpc import metrics
from omen_rpc.errors import CallError
from omen_server.backpressure import Backpressure
from omen_server.breaker import Breaker, BreakerState, BreakerView
from omen_server.delivery import RETRYABLE
from omen_server.outcomes import Outcome, left

Sleep: TypeAlias = Callable[[float], Awaitable[None]]

log = structlog.get_logger()


class Guard:
    """
    Lets calls to RiskCast through, or not yet, or not at all. *stir* is called whenever its answer may have changed.
    """

    def __init__(self, breaker: Breaker, backpressure: Backpressure, *, sleep: Sleep, stir: Callable[[], None]) -> None:
        self._breaker = breaker
        self._backpressure = backpressure
        self._sleep = sleep
        self._stir = stir
        self._state = BreakerState.CLOSED
        self._moved = asyncio.Event()
        self._complaint: tuple[str, str] | None = None
        self._expose()

    @property
    def breaker(self) -> BreakerView:
        """
        The breaker as it is now.
        """
        return self._breaker.view()

    @property
    def delay_s(self) -> float:
        """
        How long the next call is put off.
        """
        return self._backpressure.delay_s if self.look() is BreakerState.CLOSED else 0.0

    def look(self) -> BreakerState:
        """
        Return what the breaker does, and tell those concerned when that is something else than before.
        """
        view = self._breaker.view()
        if view.state is not self._state:
            self._state = view.state
            self._moved.set()
            self._moved = asyncio.Event()
            self._stir()
            self._expose()
            log.warning(
                "riskcast_breaker", state=view.state.value, failures=view.consecutive_failures, text=view.last_failure
            )
        return view.state

    def _expose(self) -> None:
        for state in BreakerState:
            metrics.PUSH_BREAKER_STATE.labels(state.value).set(state is self._state)

    def left_alone(self) -> Outcome:
        """
        Return the outcome of what waits while the breaker is open.
        """
        view = self._breaker.view()
        times = "once" if view.consecutive_failures == 1 else f"{view.consecutive_failures} times in a row"
        why = view.last_failure.removesuffix(".")
        return left(f"RiskCast failed {times} ({why}), it is asked again in {view.retry_after_s:.1f} s")

    def ask(self) -> int | None:
        """
        Return a permit for one call, or None when none may begin now.
        """
        return self._breaker.ask() if self.delay_s <= 0 else None

    def give_back(self, permit: int) -> None:
        """
        Report that a call ended without telling anything.
        """
        self._breaker.give_back(permit)

    def attempted(self, well: bool) -> None:
        """
        Report one attempt.
        """
        if well:
            self._backpressure.succeed()
        else:
            self._backpressure.fail()
        self._stir()

    def called(self, permit: int, error: CallError | None) -> None:
        """
        Report how a call ended; people are told once of what no waiting will mend.
        """
        if error is None:
            self._breaker.succeed(permit)
            self._complaint = None
        else:
            self._breaker.fail(permit, f"{error.code.name} {error.reason}: {error.message}")
            complaint = error.code.name, error.reason
            lasting = error.code not in RETRYABLE and error.retry_after_s is None
            if lasting and complaint != self._complaint:
                self._complaint = complaint
                log.error("riskcast_refuses", code=error.code.name, reason=error.reason, text=error.message)
        self.look()

    async def pause(self, permit: int, seconds: float) -> bool:
        """
        Wait between two attempts of a call, and tell whether there may be another.

        When the breaker opens, the call is over: even later, when it half-opens, there is one probe and no second.
        """
        if seconds > 0 and self._breaker.holds(permit):
            await first_of(self._sleep(seconds), self._moved.wait())
        return self._breaker.holds(permit)

    async def wait(self, stirred: asyncio.Event, *, waiting: bool) -> None:
        """
        Wait for *stirred*; if signals are *waiting*, only until the next call is put off no longer.
        """
        delay_s = self.delay_s if waiting else 0.0
        if delay_s > 0:
            await first_of(self._sleep(delay_s), stirred.wait())
        else:
            await stirred.wait()

    def came_back(self) -> None:
        """
        Ask RiskCast at once: it has said that it serves again.
        """
        self._breaker.half_open()
        self._backpressure.lift()
        self.look()
        self._stir()


async def first_of(*waits: Awaitable[object]) -> None:
    """
    Wait until one of *waits* is over, and drop the others.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

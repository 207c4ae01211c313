"""
A circuit breaker: whoever keeps failing is left alone for a while, then asked once before everybody asks again.
"""

import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


class BreakerState(enum.Enum):
    """
    What a breaker does; the names are those of the contract.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """
    A breaker as it is now.
    """

    state: BreakerState
    consecutive_failures: int
    retry_after_s: float
    state_age_s: float
    last_failure: str


@dataclass(slots=True)
class Second:
    """
    How the calls went that ended within one second.
    """

    start_s: int
    calls: int = 0
    failures: int = 0


class Breaker:
    """
    Opens after too many failures in a row, or when too large a share of the latest calls failed.

    Every call needs a permit from `ask` and reports with it. A report that comes when the breaker has moved on since
    then says nothing about the present, and is ignored.
    """

    def __init__(
        self,
        *,
        failures_max: int = 5,
        failed_share_max: float = 0.5,
        window_s: float = 60.0,
        window_calls_min: int = 10,
        open_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_max = failures_max
        self._failed_share_max = failed_share_max
        self._window_s = window_s
        self._window_calls_min = window_calls_min
        self._open_s = open_s
        self._monotonic = monotonic
        self._state = BreakerState.CLOSED
        self._changed_s = monotonic()
        self._probe_s: float | None = None
        self._permit = 1
        self._in_a_row = 0
        self._last_failure = ""
        self._seconds: deque[Second] = deque()

    def ask(self) -> int | None:
        """
        Return a permit for one call, or None when it must not be made.
        """
        state = self._look()
        if state is BreakerState.OPEN:
            return None
        if state is BreakerState.HALF_OPEN:
            if self._probe_left_s() > 0:
                return None
            # A probe that never reported is given up here; its permit is worth nothing from now on.
            self._probe_s = self._monotonic()
            self._permit += 1
        return self._permit

    def succeed(self, permit: int) -> None:
        """
        Report that the call went well.
        """
        if not self._is_current(permit):
            return
        self._in_a_row = 0
        if self._state is BreakerState.HALF_OPEN:
            self._move(BreakerState.CLOSED)
        else:
            self._count(failures=0)

    def fail(self, permit: int, why: str = "") -> None:
        """
        Report that the call failed.
        """
        if not self._is_current(permit):
            return
        self._in_a_row += 1
        self._last_failure = why
        if self._state is BreakerState.HALF_OPEN:
            self._move(BreakerState.OPEN)
            return
        self._count(failures=1)
        if self._in_a_row >= self._failures_max or self._window_is_bad():
            self._move(BreakerState.OPEN)

    def give_back(self, permit: int) -> None:
        """
        Report that the call ended without telling anything, as a cancelled one does: the next may be the probe.
        """
        if self._is_current(permit):
            self._probe_s = None

    def holds(self, permit: int) -> bool:
        """
        Tell whether a call with this permit still counts: not once the breaker has opened since then.
        """
        return self._is_current(permit)

    def half_open(self) -> None:
        """
        Let one probe through at once: somebody knows that the other side is back.
        """
        if self._look() is BreakerState.OPEN:
            self._move(BreakerState.HALF_OPEN)

    def view(self) -> BreakerView:
        """
        Return the breaker as it is now.
        """
        state = self._look()
        left_s = self._open_left_s() if state is BreakerState.OPEN else self._probe_left_s()
        return BreakerView(state, self._in_a_row, left_s, self._monotonic() - self._changed_s, self._last_failure)

    def _look(self) -> BreakerState:
        if self._state is BreakerState.OPEN and self._open_left_s() <= 0:
            self._move(BreakerState.HALF_OPEN, at_s=self._changed_s + self._open_s)
        return self._state

    def _move(self, state: BreakerState, at_s: float | None = None) -> None:
        self._state = state
        self._changed_s = self._monotonic() if at_s is None else at_s
        self._probe_s = None
        self._permit += 1
        self._seconds.clear()

    def _is_current(self, permit: int) -> bool:
        # An open breaker has given no permit since it opened, so that no report can be current.
        return self._look() is not BreakerState.OPEN and permit == self._permit

    def _open_left_s(self) -> float:
        return max(0.0, self._changed_s + self._open_s - self._monotonic())

    def _probe_left_s(self) -> float:
        return 0.0 if self._probe_s is None else max(0.0, self._probe_s + self._open_s - self._monotonic())

    def _count(self, failures: int) -> None:
        start_s = int(self._monotonic() // 1)
        if not self._seconds or self._seconds[-1].start_s != start_s:
            self._seconds.append(Second(start_s))
        self._seconds[-1].calls += 1
        self._seconds[-1].failures += failures
        while self._seconds[0].start_s <= start_s - self._window_s:
            self._seconds.popleft()

    def _window_is_bad(self) -> bool:
        calls = sum(second.calls for second in self._seconds)
        failures = sum(second.failures for second in self._seconds)
        return calls >= self._window_calls_min and failures / calls >= self._failed_share_max

"""
Backpressure: the longer RiskCast fails, the longer the next call waits before it begins.
"""

import time
from collections.abc import Callable


class Backpressure:
    """
    Counts failed attempts in a row. From the fifth on each of them puts the next call off: 2, 4, 8 … at most 60 s.

    The delay counts from the failure, so that a call which comes later waits for what is left, if anything is.
    """

    def __init__(
        self,
        *,
        failures_min: int = 5,
        delay_first_s: float = 2.0,
        delay_max_s: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_min = failures_min
        self._delay_first_s = delay_first_s
        self._delay_max_s = delay_max_s
        self._monotonic = monotonic
        self._in_a_row = 0
        self._ends_s = monotonic()

    @property
    def delay_s(self) -> float:
        """
        How long a call that would begin now has to wait.
        """
        return max(0.0, self._ends_s - self._monotonic())

    def succeed(self) -> None:
        """
        Report an attempt that went well: nothing is put off any more.
        """
        self._in_a_row = 0
        self.lift()

    def fail(self) -> None:
        """
        Report a failed attempt.
        """
        self._in_a_row += 1
        beyond = self._in_a_row - self._failures_min
        if beyond >= 0:
            # The exponent is cut: after days of failure the power itself would be too large for a float.
            delay_s = min(self._delay_max_s, self._delay_first_s * 2.0 ** min(beyond, 60))
            self._ends_s = self._monotonic() + delay_s

    def lift(self) -> None:
        """
        Let the next call begin at once; another failure puts off again, and for longer.
        """
        self._ends_s = self._monotonic()

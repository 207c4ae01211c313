"""
How much a caller may send: a token bucket for each, in a table that cannot grow without end.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

CALLERS_MAX = 10_000


@dataclass(slots=True)
class Bucket:
    """
    What one caller has left, and when that was true.
    """

    tokens: float
    at_s: float


class RateLimit:
    """
    A rate for every caller of its own.
    """

    def __init__(
        self,
        per_minute: int,
        burst: int,
        *,
        callers_max: int = CALLERS_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = float(max(1, burst))
        self._callers_max = callers_max
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, caller: str, cost: int) -> float:
        """
        Take *cost* tokens from *caller*'s bucket and return 0, or return the seconds until there are enough.

        A cost above the burst is let through when the bucket is full, and leaves a debt: it could never pass otherwise.
        """
        now = self._monotonic()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(self._burst, now)
            if len(self._buckets) > self._callers_max:
                self._buckets.popitem(last=False)  # The one heard of least recently starts anew with a full bucket.
        self._buckets.move_to_end(caller)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at_s) * self._per_second)
        bucket.at_s = now
        needed = min(float(cost), self._burst)
        if bucket.tokens >= needed:
            bucket.tokens -= cost
            return 0.0
        return (needed - bucket.tokens) / self._per_second

    def __len__(self) -> int:
        return len(self._buckets)

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from omen_rpc.errors import clip

ACTIVITY_MAX = 1_000
TEXT_BYTES_MAX = 500


@dataclass(frozen=True, slots=True)
class Happening:
    """
    One thing that happened, such as `emitted`, `sealed` or `recovered`. Numbers count from 1 with the process.
    """

    number: int
    at: datetime
    kind: str
    text: str
    signal_id: str
    partition: str


class Activity:
    """
    What happened lately, in memory: the newest so many.
    """

    def __init__(self, count_max: int = ACTIVITY_MAX, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._last = 0
        self._ring: deque[Happening] = deque(maxlen=count_max)

    def tell(self, kind: str, text: str, *, signal_id: str = "", partition: str = "") -> None:
        """
        Note that something happened now.
        """
        self._last += 1
        self._ring.append(Happening(self._last, self._now(), kind, clip(text, TEXT_BYTES_MAX), signal_id, partition))

    def page(self, before_number: int, count_max: int) -> list[Happening]:
        """
        Return what happened before a number (0: up to now), newest first.
        """
        last = self._ring[-1].number if self._ring else 0
        newer = max(0, last - before_number + 1) if before_number else 0
        return list(islice(reversed(self._ring), newer, newer + count_max))

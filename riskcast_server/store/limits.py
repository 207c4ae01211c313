"""
How much a store takes on at once, how long it waits, and where its time and its acks come from.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from omen_storage.postgres.limits import Limits

Clock: TypeAlias = Callable[[], datetime]
NewAcks: TypeAlias = Callable[[int], list[str]]

POSTGRES: Final = Limits(
    connections_max=2 * (os.cpu_count() or 1),
    connect_timeout_s=10.0,
    statement_timeout_s=30.0,
    lock_timeout_s=10.0,
    idle_in_transaction_timeout_s=30.0,
)


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """
    Limits of both engines, then those of SQLite, then those of PostgreSQL.

    Puts share a transaction up to `group_signals_max`; one that has more by itself gets one of its own.
    """

    group_signals_max: int = 256
    waiting_signals_max: int = 8192
    waiting_bytes_max: int = 64 * 1024 * 1024
    attempts_max: int = 5

    readers_max: int = 4
    busy_timeout_ms: int = 10_000

    postgres: Limits = POSTGRES


def utc_now() -> datetime:
    """
    Return the time it is.
    """
    return datetime.now(UTC)


class AckDraw:
    """
    Draws acks that nobody was given before, each above the last, so that their index grows at its end alone.

    An ack is 44 bits of milliseconds since 1970 and 20 that begin at random in each of them. Another process may draw
    the same: the column is unique, and an ack that was had is drawn again.
    """

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._at_ms = 0
        self._last = 0

    def __call__(self, count: int) -> list[str]:
        """
        Draw so many, all at this moment.
        """
        at_ms = int(self._now().timestamp() * 1000)
        first = self._last + 1
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            first = max(first, at_ms << 20 | secrets.randbits(20))
        self._last = first + count - 1
        return [f"riskcast-ack-{number:016x}" for number in range(first, first + count)]

"""
Signals that a seed decides about: the same ids, times and words whenever it is given.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_GEOPOLITICAL, SIGNAL_CATEGORY_INFRASTRUCTURE, OmenSignal
from omen.v1.signal_service_pb2 import EmitSignalItem

DAY = "2026-01-28"
MORNING = datetime(2026, 1, 28, 10, tzinfo=UTC)
SECONDS = 40_000  # Of the day, from the morning on: however many there are, they are of this one partition.


def signal_id(seed: int, number: int) -> str:
    """
    Return the id of a seed's n-th signal.
    """
    return "OMEN-" + hashlib.sha256(f"omen demo|{seed}|{number}".encode()).hexdigest()[:12].upper()


def item(seed: int, number: int) -> EmitSignalItem:
    """
    Return a seed's n-th signal, ready to be emitted.
    """
    even = number % 2 == 0
    made = EmitSignalItem(
        signal=OmenSignal(
            signal_id=signal_id(seed, number),
            source_event_id=f"demo-{seed}-{number}",
            title=f"{'Suez canal delay' if even else 'Red Sea transit disruption'}, report {number}",
            probability=(number * 37 % 100) / 100,
            confidence_score=0.7 if even else 0.85,
            category=SIGNAL_CATEGORY_INFRASTRUCTURE if even else SIGNAL_CATEGORY_GEOPOLITICAL,
        )
    )
    observed = MORNING + timedelta(seconds=number % SECONDS)
    made.observed_at.FromDatetime(observed)
    made.emitted_at.FromDatetime(observed + timedelta(seconds=5))
    return made


def items(seed: int, numbers: Iterable[int]) -> list[EmitSignalItem]:
    """
    Return several of them.
    """
    return [item(seed, number) for number in numbers]

"""
How much is remembered and asked for at once, and what is refused before an engine sees it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconcile.v1 import reconcile_service_pb2
from reconcile.v1.reconcile_service_pb2 import ReconcileResult, ReconcileState

# From this permanent refusal on a signal is parked. Before, it is tried like any other.
PARK_ATTEMPTS: Final = 3

PAGE_MAX: Final = 1000
BATCH_MAX: Final = 1024
NAME_CHARS_MAX: Final = 200
MESSAGE_CHARS_MAX: Final = 500
LEASE_TTL_S_MAX: Final = 3600.0

# The engines keep numbers and positions in signed 64-bit columns.
NUMBER_MAX: Final = 2**62

_STORED: Final = (
    reconcile_service_pb2.RECONCILE_STATUS_COMPLETED,
    reconcile_service_pb2.RECONCILE_STATUS_PARTIAL,
    reconcile_service_pb2.RECONCILE_STATUS_FAILED,
)


@dataclass(frozen=True, slots=True)
class StateLimits:
    """
    How much is remembered. `parked_max` counts the signals of all partitions, those not parked yet included.
    """

    history_max: int = 1000
    parked_max: int = 20_000
    # A signal that was refused, was not parked, and was not tried for so long came another way.
    refused_days_max: int = 30


def checked(result: ReconcileResult, state: ReconcileState | None) -> None:
    """
    Raise ValueError for a run that is not one to remember: SKIPPED, nameless, or of another partition than its state.
    """
    for each in (result, state):
        if each is not None and each.status not in _STORED:
            name = reconcile_service_pb2.ReconcileStatus.Name(each.status)
            raise ValueError(f"{name} is no outcome of a run that was made")
    check_name(result.partition_date, "partition_date")
    if result.run_id:
        check_name(result.run_id, "run_id")
    if state is not None and state.partition_date != result.partition_date:
        raise ValueError(f"the state is {state.partition_date}'s and the run {result.partition_date}'s")


def check_name(name: str, what: str) -> None:
    """
    Raise ValueError for a name that is empty, too long, or cannot be stored everywhere.
    """
    if not name or len(name) > NAME_CHARS_MAX or name != plain(name):
        raise ValueError(f"{what} is empty, has more than {NAME_CHARS_MAX} characters, or some that cannot be stored")


def check_page(count_max: int) -> None:
    """
    Raise ValueError for a page of none or of too many.
    """
    if not 1 <= count_max <= PAGE_MAX:
        raise ValueError(f"a page has 1 to {PAGE_MAX} items, not {count_max}")


def check_batch(items: Sequence[Any]) -> None:
    """
    Raise ValueError for too many at once.
    """
    if len(items) > BATCH_MAX:
        raise ValueError(f"{len(items)} at once are more than {BATCH_MAX}")


def check_rate(signals_per_second: float) -> None:
    """
    Raise ValueError for a rate that is none.
    """
    if not (math.isfinite(signals_per_second) and signals_per_second > 0):
        raise ValueError(f"{signals_per_second} signals a second is no rate")


def check_lease(owner: str, ttl_s: float) -> None:
    """
    Raise ValueError for a lease of nobody, for no time, or for so long that a crash would keep everybody out.
    """
    check_name(owner, "owner")
    if not 0 < ttl_s <= LEASE_TTL_S_MAX:
        raise ValueError(f"a lease lasts up to {LEASE_TTL_S_MAX:.0f} s, not {ttl_s}")


def plain(text: str) -> str:
    """
    Return *text* with what PostgreSQL's texts and UTF-8 do not have replaced by U+FFFD.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def bounded(number: int) -> int:
    """
    Return *number* as a column can hold it; beyond either end there is nothing.
    """
    return max(0, min(number, NUMBER_MAX))

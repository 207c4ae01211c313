"""
What RiskCast refused for good: as it is counted, and as it is shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from reconcile.v1.reconcile_service_pb2 import ParkedSignal
from reconciler.state.limits import MESSAGE_CHARS_MAX, NAME_CHARS_MAX, NUMBER_MAX, check_name, plain

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One permanent refusal of the signal at a position. *reason* and *message* are cut to what a pointer needs.

    ValueError for what no row could hold, and for a time without its zone.
    """

    partition: str
    ledger_index: int
    ledger_sequence: int
    signal_id: str
    code: int
    reason: str
    message: str
    at: datetime

    def __post_init__(self) -> None:
        check_name(self.partition, "partition")
        check_name(self.signal_id, "signal_id")
        if not (1 <= self.ledger_index <= NUMBER_MAX and 0 <= self.ledger_sequence <= NUMBER_MAX):
            raise ValueError(f"ledger_index or ledger_sequence is not within 1 to {NUMBER_MAX}")
        if not 0 <= self.code < 1 << 31:
            raise ValueError(f"code {self.code} is no gRPC code")
        if self.at.tzinfo is None:
            raise ValueError("at has no time zone")
        object.__setattr__(self, "reason", plain(self.reason)[:NAME_CHARS_MAX])
        object.__setattr__(self, "message", plain(self.message)[:MESSAGE_CHARS_MAX])


@dataclass(frozen=True, slots=True)
class Refusals:
    """
    All attempts at one position in a batch: the last of them, how many, and when the first was.
    """

    last: Attempt
    count: int
    first_us: int

    @property
    def last_us(self) -> int:
        """
        When the last was.
        """
        return us_of(self.last.at)


def merged(attempts: Iterable[Attempt]) -> list[Refusals]:
    """
    Return one entry for each position, in the order in which they first come. One that changed its signal starts over.
    """
    found: dict[tuple[str, int], Refusals] = {}
    for each in attempts:
        key = (each.partition, each.ledger_index)
        before = found.get(key)
        if before is None or before.last.signal_id != each.signal_id:
            found[key] = Refusals(each, 1, us_of(each.at))
        else:
            found[key] = Refusals(each, before.count + 1, before.first_us)
    return list(found.values())


def pointer(row: Sequence[Any]) -> ParkedSignal:
    """
    Return what a row says, its columns in the order of ParkedSignal's fields, times in microseconds since 1970.
    """
    signal_id, partition, sequence, index, code, reason, message, attempts, first_us, last_us, waived_reason = row
    return ParkedSignal(
        signal_id=signal_id,
        partition=partition,
        ledger_sequence=sequence,
        ledger_index=index,
        code=code,
        reason=reason,
        message=message,
        attempts=attempts,
        parked_at=_timestamp(first_us),
        last_attempt_at=_timestamp(last_us),
        waived_reason=waived_reason,
    )


def us_of(at: datetime) -> int:
    """
    Return *at* in microseconds since 1970, exactly.
    """
    return (at - _EPOCH) // timedelta(microseconds=1)


def time_of(at_us: int) -> datetime:
    """
    Return the time that `us_of` made a number of.
    """
    return _EPOCH + timedelta(microseconds=at_us)


def _timestamp(at_us: int) -> Timestamp:
    at = Timestamp()
    at.FromMicroseconds(at_us)
    return at

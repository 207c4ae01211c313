"""
A state in memory, for tests of what stands in front of one. It keeps the contract by the plainest means there are.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from reconcile.v1.reconcile_service_pb2 import ParkedSignal, ReconcileResult, ReconcileState
from reconciler.state import PARK_ATTEMPTS, Attempt, Lease, State, StateLimits
from reconciler.state.limits import check_batch, check_lease, check_page, check_rate, checked, plain


@dataclass
class MemoryState:
    """
    All parts of a state, and what would be on its disk.
    """

    limits: StateLimits = field(default_factory=StateLimits)
    kept: dict[str, bytes] = field(default_factory=dict)
    past: dict[int, ReconcileResult] = field(default_factory=dict)
    refused: dict[int, ParkedSignal] = field(default_factory=dict)
    reason: str | None = None
    signals_per_second: float | None = None
    lease: Lease | None = None
    success_at: datetime | None = None
    awaited_at: datetime | None = None
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def save(self, result: ReconcileResult, state: ReconcileState | None) -> None:
        """
        See `Runs`.
        """
        checked(result, state)
        partition = result.partition_date
        known = {(each.run_id, each.partition_date) for each in self.past.values() if each.run_id}
        if (result.run_id, partition) not in known:
            self.past[next(self.numbers)] = ReconcileResult.FromString(result.SerializeToString())
        own = [number for number, each in self.past.items() if each.partition_date == partition]
        for number in own[: -self.limits.history_max]:
            del self.past[number]
        if state is not None:
            self.kept[partition] = state.SerializeToString()

    async def get(self, partition: str) -> ReconcileState | None:
        """
        See `Runs`.
        """
        return ReconcileState.FromString(self.kept[partition]) if partition in self.kept else None

    async def states(self, before: str, count_max: int) -> list[ReconcileState]:
        """
        See `Runs`.
        """
        check_page(count_max)
        names = sorted((name for name in self.kept if not before or name < plain(before)), reverse=True)
        return [ReconcileState.FromString(self.kept[name]) for name in names[:count_max]]

    async def history(self, partition: str, before_number: int, count_max: int) -> list[tuple[int, ReconcileResult]]:
        """
        See `Runs`.
        """
        check_page(count_max)
        found = [
            (number, each)
            for number, each in reversed(self.past.items())
            if partition in ("", each.partition_date) and (not before_number or number < before_number)
        ]
        return found[:count_max]

    async def count_attempts(self, attempts: Sequence[Attempt]) -> None:
        """
        See `Parked`.
        """
        check_batch(attempts)
        if attempts:
            oldest = max(each.at for each in attempts) - timedelta(days=self.limits.refused_days_max)
            self._drop(
                number
                for number, each in self.refused.items()
                if each.attempts < PARK_ATTEMPTS and each.last_attempt_at.ToDatetime(oldest.tzinfo) < oldest
            )
        for attempt in attempts:
            self._count(attempt)

    async def forget(self, partition: str, indexes: Sequence[int]) -> None:
        """
        See `Parked`.
        """
        check_batch(indexes)
        self._drop(
            n for n, each in self.refused.items() if each.partition == partition and each.ledger_index in indexes
        )

    async def page(
        self, partition: str, include_waived: bool, after_number: int, count_max: int
    ) -> list[tuple[int, ParkedSignal]]:
        """
        See `Parked`.
        """
        check_page(count_max)
        found = [
            (number, each)
            for number, each in self._parked(partition)
            if number > after_number and (include_waived or not each.waived_reason)
        ]
        return found[:count_max]

    async def of(self, partition: str, indexes: Sequence[int] | None) -> list[ParkedSignal]:
        """
        See `Parked`.
        """
        check_batch(indexes or ())
        found = [each for _, each in self._parked(partition) if indexes is None or each.ledger_index in indexes]
        return sorted((each for each in found if partition), key=lambda each: each.ledger_index)

    async def waive(self, signal_ids: Sequence[str], reason: str) -> int:
        """
        See `Parked`.
        """
        check_batch(signal_ids)
        if not reason:
            raise ValueError(reason)
        found = [each for _, each in self._parked("") if each.signal_id in signal_ids]
        for each in found:
            each.waived_reason = plain(reason)
        return len(found)

    async def count(self, partition: str = "") -> int:
        """
        See `Parked`.
        """
        return sum(not each.waived_reason for _, each in self._parked(partition))

    async def paused(self) -> str | None:
        """
        See `Control`.
        """
        return self.reason

    async def pause(self, reason: str) -> bool:
        """
        See `Control`.
        """
        before, self.reason = self.reason, plain(reason)
        return before is not None

    async def resume(self) -> bool:
        """
        See `Control`.
        """
        before, self.reason = self.reason, None
        return before is not None

    async def rate(self) -> float | None:
        """
        See `Control`.
        """
        return self.signals_per_second

    async def set_rate(self, signals_per_second: float) -> None:
        """
        See `Control`.
        """
        check_rate(signals_per_second)
        self.signals_per_second = signals_per_second

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        See `Control`.
        """
        check_lease(owner, ttl_s)
        if self.lease is not None and self.lease.owner != owner and now < self.lease.until:
            return None
        self.lease = Lease(owner, now + timedelta(seconds=ttl_s))
        return self.lease

    async def release(self, owner: str) -> None:
        """
        See `Control`.
        """
        if self.lease is not None and self.lease.owner == owner:
            self.lease = None

    async def last(self) -> datetime | None:
        """
        See `Success`.
        """
        return self.success_at

    async def awaited_since(self, now: datetime) -> datetime:
        """
        See `Success`.
        """
        self.awaited_at = self.awaited_at or now
        return self.awaited_at

    async def note(self, at: datetime) -> None:
        """
        See `Success`.
        """
        self.success_at = max(at, self.success_at or at)

    def _count(self, attempt: Attempt) -> None:
        place = (attempt.partition, attempt.ledger_index)
        at = {(each.partition, each.ledger_index): number for number, each in self.refused.items()}.get(place)
        if at is not None and self.refused[at].signal_id != attempt.signal_id:
            self._drop([at])
            at = None
        if at is None:
            if len(self.refused) >= self.limits.parked_max:
                return
            at = next(self.numbers)
            self.refused[at] = ParkedSignal(
                signal_id=attempt.signal_id,
                partition=attempt.partition,
                ledger_sequence=attempt.ledger_sequence,
                ledger_index=attempt.ledger_index,
            )
            self.refused[at].parked_at.FromDatetime(attempt.at)
        one = self.refused[at]
        one.attempts += 1
        one.code, one.reason, one.message = attempt.code, attempt.reason, attempt.message
        one.last_attempt_at.FromDatetime(attempt.at)

    def _parked(self, partition: str) -> list[tuple[int, ParkedSignal]]:
        return [
            (number, each)
            for number, each in self.refused.items()
            if each.attempts >= PARK_ATTEMPTS and partition in ("", each.partition)
        ]

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in list(numbers):
            del self.refused[number]


@asynccontextmanager
async def open_memory(memory: MemoryState, limits: StateLimits | None = None) -> AsyncIterator[State]:
    """
    Open what *memory* has. What is there stays when it is closed.
    """
    memory.limits = limits or StateLimits()
    yield State(memory, memory, memory, memory, "memory")

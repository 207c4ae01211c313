"""
A store in memory, for tests of what stands in front of one. It keeps the contract by the plainest means there are.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import block_of, fold, position_hash
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_UNSPECIFIED, IngestOrigin
from riskcast.v1.inventory_service_pb2 import (
    CompareBlocksResponse,
    Conflict,
    GetCoverageResponse,
    GetIngestStatsResponse,
    Position,
    ProcessedSignal,
)
from riskcast_server.store import (
    INDEX_MAX,
    ORIGIN_NAMES,
    POSITIONS_PER_LIST_MAX,
    Arrival,
    Page,
    Receipt,
    Store,
    StoreBusy,
)
from riskcast_server.store.limits import AckDraw, Clock, NewAcks, StoreLimits, utc_now

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_hash = lru_cache(maxsize=100_000)(position_hash)


@dataclass
class Memory:
    """
    What would be on a disk: it outlives the stores opened on it.
    """

    epoch: str = "memory"
    signals: dict[str, ProcessedSignal] = field(default_factory=dict)
    positions: dict[tuple[str, int], str] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    acks: set[str] = field(default_factory=set)

    def unpositioned(self, date: str | None = None) -> int:
        """
        Count signals that hold no position: all of them, or those of a day.
        """
        holding = set(self.positions.values())
        return sum(
            1
            for signal in self.signals.values()
            if signal.signal_id not in holding and date in (None, signal.partition_date)
        )


class MemorySignals:
    """
    The fake's `SignalStore`.
    """

    def __init__(self, memory: Memory, limits: StoreLimits, now: Clock, acks: NewAcks) -> None:
        self._memory = memory
        self._limits = limits
        self._now = now
        self._acks = acks

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        See `SignalStore`. Nothing waits here, so only a call that is too much by itself finds it busy.
        """
        if len(arrivals) > self._limits.waiting_signals_max:
            raise StoreBusy(0, 0)
        return [self._put(arrival) for arrival in arrivals]

    async def get(self, signal_id: str) -> ProcessedSignal | None:
        """
        See `SignalStore`.
        """
        return self._memory.signals.get(signal_id)

    async def lookup(self, signal_ids: Sequence[str]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        stored = self._memory.signals
        return [_receipt(stored[each], duplicate=True) for each in dict.fromkeys(signal_ids) if each in stored]

    async def list_signals(
        self,
        *,
        partition: str = "",
        origin: IngestOrigin.ValueType = INGEST_ORIGIN_UNSPECIFIED,
        after: int = 0,
        limit: int = 100,
        bytes_max: int = 512 * 1024,
    ) -> Page[ProcessedSignal]:
        """
        See `SignalStore`.
        """
        items: list[ProcessedSignal] = []
        size_bytes = 0
        for place, signal in enumerate(self._memory.signals.values(), 1):
            if place <= after or partition not in ("", signal.ledger_partition) or origin not in (0, signal.origin):
                continue
            items.append(signal)
            size_bytes += signal.event.ByteSize()
            if len(items) == limit or size_bytes >= bytes_max:
                return Page(items, place)
        return Page(items, 0)

    async def list_conflicts(self, *, before: int = 0, limit: int = 100) -> Page[Conflict]:
        """
        See `SignalStore`.
        """
        older = self._memory.conflicts[: before - 1] if before else self._memory.conflicts
        items = older[::-1][:limit]
        return Page(items, len(older) - limit + 1 if len(items) == limit else 0)

    async def stats(self) -> GetIngestStatsResponse:
        """
        See `SignalStore`.
        """
        origins = [ORIGIN_NAMES[signal.origin] for signal in self._memory.signals.values()]
        return GetIngestStatsResponse(
            stored=len(origins),
            stored_by_origin={name: origins.count(name) for name in ORIGIN_NAMES.values()},
            unpositioned=self._memory.unpositioned(),
            conflicts_on_record=len(self._memory.conflicts),
            store_epoch=self._memory.epoch,
        )

    def _put(self, arrival: Arrival) -> Receipt:
        signal_id = arrival.signal_id
        stored = self._memory.signals.get(signal_id)
        if stored is None:
            stored = self._memory.signals[signal_id] = self._stored(arrival)
            receipt = _receipt(stored, duplicate=False)
        else:
            conflict = stored.content_digest != arrival.content_digest
            receipt = _receipt(stored, duplicate=True)._replace(content_conflict=conflict)
            if conflict:
                self._record("content", arrival, stored, "")
        if arrival.position is not None:
            holder = self._memory.positions.setdefault(arrival.position, signal_id)
            if holder != signal_id:
                self._record("position", arrival, stored, holder)
        return receipt

    def _stored(self, arrival: Arrival) -> ProcessedSignal:
        event = SignalEvent.FromString(arrival.signal_data)
        while (ack_id := self._acks(1)[0]) in self._memory.acks:
            pass
        self._memory.acks.add(ack_id)
        stored = ProcessedSignal(
            signal_id=event.signal_id,
            trace_id=event.deterministic_trace_id,
            ack_id=ack_id,
            processed_at=_timestamp(self._now()),
            emitted_at=event.emitted_at,
            partition_date=arrival.partition_date,
            origin=arrival.origin,
            event=event,
            request_id=arrival.request_id,
            content_digest=arrival.content_digest,
        )
        if arrival.position is not None:
            stored.ledger_partition, stored.ledger_index = arrival.position
            stored.ledger_sequence = event.ledger_sequence
        return stored

    def _record(self, kind: str, arrival: Arrival, stored: ProcessedSignal, holder: str) -> None:
        conflict = Conflict(
            signal_id=stored.signal_id,
            at=_timestamp(self._now()),
            origin=arrival.origin,
            stored_digest=stored.content_digest,
            offered_digest=arrival.content_digest,
            ledger_partition=arrival.ledger_partition,
            ledger_index=arrival.ledger_index,
            kind=kind,
            request_id=arrival.request_id,
            holder_signal_id=holder,
        )
        if _identity(conflict) not in map(_identity, self._memory.conflicts):
            self._memory.conflicts.append(conflict)


class MemoryPositions:
    """
    The fake's `PositionStore`: sets, and nothing remembered.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def coverage(
        self,
        partition: str,
        from_index: int,
        through_index: int,
        *,
        ledger_gaps: Sequence[IndexRange] = (),
        max_ranges: int = 1000,
        bypass_cache: bool = False,  # noqa: ARG002 - there is no cache to bypass.
    ) -> GetCoverageResponse:
        """
        See `PositionStore`. It looks at each position there might be.
        """
        _refuse_beyond(from_index, through_index)
        first, last = max(1, from_index), through_index
        held = {index for name, index in self._memory.positions if name == partition}
        # Beyond everything that is named there is nothing but one long missing range.
        horizon = min(last, max([first, *(index + 1 for index in held), *(gap.last + 1 for gap in ledger_gaps)]))
        asked = set(range(first, horizon + 1))
        gaps = {index for gap in ledger_gaps for index in range(max(gap.first, first), min(gap.last, last) + 1)}
        missing = [(low, last if high == horizon else high) for low, high in _runs(asked - held - gaps)]
        ranges = [(span, False) for span in missing]
        ranges += [(span, True) for span in _runs(asked & held & gaps)]
        ranges.sort()
        next_index = 0
        if len(ranges) > max(1, max_ranges):
            next_index = ranges[max(1, max_ranges)][0][0]
            last = next_index - 1
            ranges = ranges[: max(1, max_ranges)]
        counted = sorted(index for index in asked & held - gaps if index <= last)
        high, low = fold(self._hash(partition, index) for index in counted)
        return GetCoverageResponse(
            through_index=last,
            count=len(counted),
            fingerprint_hi=high,
            fingerprint_lo=low,
            missing=[IndexRange(first=span[0], last=span[1]) for span, recoverable in ranges if not recoverable],
            recoverable=[IndexRange(first=span[0], last=span[1]) for span, recoverable in ranges if recoverable],
            next_index=next_index,
            max_index=max(held, default=0),
            unpositioned=self._memory.unpositioned(partition[:10]),
            store_epoch=self._memory.epoch,
        )

    async def compare(
        self, partition: str, through_index: int, blocks: Sequence[BlockFingerprint]
    ) -> CompareBlocksResponse:
        """
        See `PositionStore`.
        """
        _refuse_beyond(1, through_index)
        response = CompareBlocksResponse(store_epoch=self._memory.epoch)
        for theirs in blocks:
            held = [
                index
                for name, index in self._memory.positions
                if name == partition and index <= through_index and block_of(index) == theirs.block
            ]
            high, low = fold(self._hash(partition, index) for index in held)
            ours = BlockFingerprint(block=theirs.block, count=len(held), fingerprint_hi=high, fingerprint_lo=low)
            if ours != theirs:
                response.differing.append(ours)
        return response

    async def positions(self, partition: str, first_index: int, last_index: int) -> list[Position]:
        """
        See `PositionStore`.
        """
        _refuse_beyond(first_index, last_index)
        if last_index - first_index >= POSITIONS_PER_LIST_MAX:
            raise ValueError(f"a list has at most {POSITIONS_PER_LIST_MAX} positions")
        listed = []
        for index in range(first_index, last_index + 1):
            holder = self._memory.positions.get((partition, index))
            if holder is not None:
                stored = self._memory.signals[holder]
                digest = stored.content_digest
                listed.append(Position(index=index, signal_id=holder, content_digest=digest, ack_id=stored.ack_id))
        return listed

    def _hash(self, partition: str, index: int) -> tuple[int, int]:
        stored = self._memory.signals[self._memory.positions[partition, index]]
        return _hash(partition, index, stored.signal_id, stored.content_digest)


@asynccontextmanager
async def open_memory(
    memory: Memory, *, limits: StoreLimits | None = None, now: Clock = utc_now, acks: NewAcks | None = None
) -> AsyncIterator[Store]:
    """
    Open a store on *memory*.
    """
    yield Store(
        MemorySignals(memory, limits or StoreLimits(), now, acks or AckDraw(now)), MemoryPositions(memory), "memory"
    )


def _receipt(stored: ProcessedSignal, *, duplicate: bool) -> Receipt:
    return Receipt(
        signal_id=stored.signal_id,
        ack_id=stored.ack_id,
        processed_at=stored.processed_at,
        origin=stored.origin,
        request_id=stored.request_id,
        content_digest=stored.content_digest,
        duplicate=duplicate,
    )


def _identity(conflict: Conflict) -> tuple[str, str, str, str, int]:
    place = conflict.ledger_partition, conflict.ledger_index
    return (conflict.kind, conflict.signal_id, conflict.offered_digest, *place)


def _timestamp(at: datetime) -> Timestamp:
    us = (at - _EPOCH) // timedelta(microseconds=1)
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _refuse_beyond(first: int, last: int) -> None:
    if max(first, last) > INDEX_MAX or min(first, last) < 0:
        raise ValueError(f"positions go from 1 to {INDEX_MAX}")

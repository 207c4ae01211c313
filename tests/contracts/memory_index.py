"""
An index in memory, for tests of what stands in front of one. It keeps the contract by the plainest means there are.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from omen_server.index import (
    LOOKED_ROWS_MAX,
    WANTED_MAX,
    Counts,
    Index,
    IndexMoved,
    IndexOfAnother,
    IndexUnavailable,
    Known,
    Mark,
    Outcome,
    Page,
    Query,
    Row,
    Wanted,
)


@dataclass
class MemoryIndex:
    """
    Both halves of an index, and what would be on its disk.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    at: Mark | None = None
    looked_rows_max: int = LOOKED_ROWS_MAX

    async def mark(self) -> Mark | None:
        """
        See `Projection`.
        """
        return self.at

    async def put(self, rows: Sequence[Row], mark: Mark, after_offset: int) -> None:
        """
        See `Projection`.
        """
        if self.at is not None and self.at.ledger_id != mark.ledger_id:
            raise IndexOfAnother(self.at.ledger_id, mark.ledger_id)
        found = self.at.offset if self.at else 0
        if found != after_offset:
            raise IndexMoved(found, after_offset)
        self.rows |= {row.offset: row for row in rows}
        self.at = mark

    async def cut(self, offset: int) -> None:
        """
        See `Projection`.
        """
        self.rows = {each: row for each, row in self.rows.items() if each <= offset}
        self.outcomes = {each: outcome for each, outcome in self.outcomes.items() if each <= offset}
        if self.at is not None:
            crc = self.rows[offset].crc if offset in self.rows else 0
            self.at = Mark(self.at.ledger_id, self.at.ledger_epoch, offset, crc) if offset else None

    async def note(self, outcomes: Sequence[Outcome]) -> None:
        """
        See `Projection`.
        """
        for outcome in outcomes:
            before = self.outcomes.get(outcome.offset)
            if outcome.offset in self.rows and (before is None or outcome.strength >= before.strength):
                self.outcomes[outcome.offset] = outcome

    async def find(self, wanted: Sequence[Wanted], true_through: int = 0) -> list[Known | None]:
        """
        See `Lookup`.
        """
        if len(wanted) > WANTED_MAX:
            raise ValueError(len(wanted))
        stands = self.at.offset if self.at else 0
        if wanted and stands < true_through:
            raise IndexUnavailable(f"{stands} < {true_through}")
        return [
            next(
                (
                    self._known(row)
                    for _, row in sorted(self.rows.items())
                    if row.signal_id == each.signal_id
                    and each.input_event_hash in ("", row.input_event_hash)
                    and each.content_digest in ("", row.content_digest)
                    and row.offset > each.after_offset
                ),
                None,
            )
            for each in wanted
        ]

    async def page(self, query: Query, before_offset: int = 0, rows_max: int = 100) -> Page:
        """
        See `Lookup`. It looks at every row it counts, so a sifting query ends early whatever else it says.
        """
        items: list[Known] = []
        older = sorted((each for each in self.rows if not before_offset or each < before_offset), reverse=True)
        for looked, offset in enumerate(older):
            if query.sifts and looked == self.looked_rows_max:
                return Page(items, older[looked - 1])
            if _fits(self.rows[offset], query):
                if len(items) == rows_max:
                    return Page(items, items[-1].offset)
                items.append(self._known(self.rows[offset]))
        return Page(items, 0)

    async def first_since(self, emitted_ns: int) -> int | None:
        """
        See `Lookup`.
        """
        return min((row.offset for row in self.rows.values() if row.emitted_ns >= emitted_ns), default=None)

    async def counts(self, day: str) -> Counts:
        """
        See `Lookup`.
        """
        dates = [datetime.fromtimestamp(row.emitted_ns // 10**9, UTC).date().isoformat() for row in self.rows.values()]
        return Counts(len(dates), dates.count(day))

    def _known(self, row: Row) -> Known:
        outcome = self.outcomes.get(row.offset, Outcome(row.offset, 0))
        return Known(
            row.offset,
            row.partition,
            row.ledger_index,
            row.signal_id,
            row.input_event_hash,
            row.content_digest,
            outcome.status,
            outcome.ack_id,
        )


def _fits(row: Row, query: Query) -> bool:
    return (
        query.partition in ("", row.partition)
        and (query.emitted_from_ns is None or row.emitted_ns >= query.emitted_from_ns)
        and (query.emitted_through_ns is None or row.emitted_ns <= query.emitted_through_ns)
        and (not query.categories or row.category in query.categories)
        and (not query.trace_ids or row.trace_id in query.trace_ids)
        and query.input_event_hash in ("", row.input_event_hash)
        and query.source_event_id in ("", row.source_event_id)
        and all(word in row.title for word in query.words)
    )


@asynccontextmanager
async def open_memory(
    memory: MemoryIndex | None = None, *, looked_rows_max: int = LOOKED_ROWS_MAX
) -> AsyncIterator[Index]:
    """
    Open an index in memory; given one that was open before, what it holds.
    """
    memory = memory or MemoryIndex()
    memory.looked_rows_max = looked_rows_max
    yield Index(memory, memory, "memory", shared=False)

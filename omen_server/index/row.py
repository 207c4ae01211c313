"""
What the index keeps of one ledger record: where it lies and what it can be found by, and nothing of the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from omen_server.ledger.partition import Gap
from omen_server.tail import Committed

# What a 64-bit column holds: nanoseconds from 1677 to 2262. A time beyond is as far away as can be said.
_INT64_MAX: Final = (1 << 63) - 1
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """
    One record of the ledger. `title` is folded, times are nanoseconds since 1970, UTC; `crc` is that of its frame.
    """

    offset: int
    partition: str
    ledger_index: int
    signal_id: str
    trace_id: str
    input_event_hash: str
    source_event_id: str
    content_digest: str
    emitted_ns: int
    category: int
    title: str
    crc: int


def row_of(item: Committed) -> Row:
    """
    Return what the index keeps of a record.
    """
    event, position = item.event, item.position
    emitted = event.emitted_at
    return Row(
        position.offset,
        position.partition,
        position.index,
        plain(event.signal_id),
        plain(event.deterministic_trace_id),
        plain(event.input_event_hash),
        plain(event.source_event_id),
        plain(event.content_digest),
        bounded_ns(emitted.seconds * _SECOND_NS + emitted.nanos),
        event.signal.category,
        folded(event.signal.title),
        item.crc(),
    )


def rows_of(batch: Iterable[Committed | Gap]) -> list[Row]:
    """
    Return the rows of a batch. A gap leaves none.
    """
    return [row_of(item) for item in batch if isinstance(item, Committed)]


def folded(text: str) -> str:
    """
    Return *text* as titles and the words looked for in them are compared: without case.
    """
    return plain(text.casefold())


def plain(text: str) -> str:
    """
    Return *text* as every engine can keep it: PostgreSQL has no NUL.
    """
    return text.replace("\0", "\ufffd") if "\0" in text else text


def bounded_ns(ns: int) -> int:
    """
    Return a time as a 64-bit column can hold it.
    """
    return max(-_INT64_MAX, min(_INT64_MAX, ns))

"""
Rows and marks for the tests of an index, and the short ways to put them in and look at what is found.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from omen_server.index import Index, Known, Mark, Query, Row
from omen_server.index.row import folded

NOON_NS: Final = int(datetime(2026, 1, 28, 12, tzinfo=UTC).timestamp()) * 10**9
DAY_NS: Final = 86_400 * 10**9
LEDGER, EPOCH = "a" * 32, "b" * 32


def row(offset: int, **fields: Any) -> Row:
    """
    Return a row, of which only the offset matters unless *fields* say otherwise.
    """
    emitted_ns = fields.get("emitted_ns", NOON_NS + offset)
    day = datetime.fromtimestamp(emitted_ns // 10**9, UTC).date().isoformat()
    plain = {
        "offset": offset,
        "partition": day,
        "ledger_index": offset,
        "signal_id": f"OMEN-{offset:04d}",
        "trace_id": f"{offset:016x}",
        "input_event_hash": f"sha256:{offset:064x}",
        "source_event_id": f"evt-{offset}",
        "content_digest": f"sha256:{offset * 7:064x}",
        "emitted_ns": emitted_ns,
        "category": 1 + offset % 8,
        "title": f"signal {offset}",
        "crc": offset * 3,
    }
    return Row(**(plain | fields))


def mark(offset: int, crc: int = 0, ledger_id: str = LEDGER, epoch: str = EPOCH) -> Mark:
    """
    Return a mark of the one ledger there is, unless said otherwise.
    """
    return Mark(ledger_id, epoch, offset, crc)


async def filled(index: Index, rows: Sequence[Row]) -> None:
    """
    Put *rows* into an empty index and move the mark to the last.
    """
    for at in range(0, len(rows), 500):
        batch = rows[at : at + 500]
        before = await index.projection.mark()
        last = batch[-1]
        await index.projection.put(batch, mark(last.offset, last.crc), before.offset if before else 0)


def offsets(items: Sequence[Known | None]) -> list[int | None]:
    """
    Return where the items lie.
    """
    return [item.offset if item else None for item in items]


async def everything(index: Index, query: Query, rows_max: int = 7) -> list[Known]:
    """
    Turn all pages of *query*.
    """
    found: list[Known] = []
    page = await index.lookup.page(query, 0, rows_max)
    while True:
        assert len(page.items) <= rows_max
        found += page.items
        if not page.before_offset:
            return found
        page = await index.lookup.page(query, page.before_offset, rows_max)


_TITLES: Final = (
    "Red Sea transit",
    "The sea is red",
    "Straße closed",
    "100% of ports",
    "under_score",
    "back\\slash",
    "1000",
)


def crowd(count: int, seed: int = 7) -> list[Row]:
    """
    Return rows that share keys, days and words in every way, with holes between their offsets.
    """
    draw = random.Random(seed)
    rows, offset = [], 0
    for _ in range(count):
        offset += draw.choice((1, 1, 1, 2, 40))
        emitted_ns = NOON_NS + draw.randint(-2 * DAY_NS, 2 * DAY_NS)
        day = datetime.fromtimestamp(emitted_ns // 10**9, UTC).date().isoformat()
        rows.append(
            row(
                offset,
                emitted_ns=emitted_ns,
                partition=draw.choice((day, f"{day}-late")),
                trace_id=f"t{draw.randint(1, 9)}",
                input_event_hash=f"h{draw.randint(1, 9)}",
                source_event_id=f"s{draw.randint(1, 9)}",
                category=draw.randint(1, 8),
                title=folded(draw.choice(_TITLES)),
            )
        )
    return rows

"""
Making the index anew from a ledger that no server has open.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from omen_server.index import Index, Mark
from omen_server.index.row import Row, rows_of
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record
from omen_server.tail import BATCH_RECORDS, decoded, last_offset


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """
    How many rows the index has now, and up to which offset of the ledger it is true.
    """

    rows: int
    offset: int


async def rebuild(
    index: Index, ledger: OfflineLedger, told: Callable[[int, int], None] = lambda _offset, _last: None
) -> Rebuilt:
    """
    Forget everything, whosever it is, and read the ledger; *told* hears how far of how much it is.

    Ends with the last record that is proven durable: what lies behind it is the next start's to judge and to index.
    """
    proven = await asyncio.to_thread(ledger.proven_offset)
    await index.projection.cut(0)
    items = _up_to(ledger.read(), proven)
    done = Rebuilt(0, 0)
    while True:
        rows, last = await asyncio.to_thread(_next_rows, items)
        if not last:
            return done
        crc = rows[-1].crc if rows and rows[-1].offset == last else 0
        mark = Mark(ledger.identity.ledger_id, ledger.identity.ledger_epoch, last, crc)
        await index.projection.put(rows, mark, done.offset)
        done = Rebuilt(done.rows + len(rows), last)
        told(last, proven)


def _next_rows(items: Iterator[Record | Gap]) -> tuple[list[Row], int]:
    """
    Return the rows of the next records and the offset up to which that is; 0 at the end.
    """
    batch = decoded(list(islice(items, BATCH_RECORDS)))
    return rows_of(batch), last_offset(batch) if batch else 0


def _up_to(items: Iterator[Record | Gap], proven: int) -> Iterator[Record | Gap]:
    for item in items:
        last = item.last_offset if isinstance(item, Gap) else item.position.offset
        if last > proven:
            return
        yield item

"""
Reading the ledger for one subscriber that is behind: a turn at a time, each of them outside of the event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.ledger.passage import UNDECODABLE, lost
from omen_server.ledger.segment import Record
from omen_server.stream.cursor import Cursors
from omen_server.stream.frame import Frame, Passed, batch_frames, gap_frame
from omen_server.stream.request import Wish


@dataclass(frozen=True, slots=True)
class Turn:
    """
    What one turn has read: the frames that are wanted of it, and how far it went.
    """

    frames: deque[Frame]
    offset: int
    cursor: str
    written_at: int


class Reading:
    """
    One pass over the ledger, from behind an offset to what was durable when it began.

    A turn waits for one of the *readers* that all subscribers share. They are given in the order of asking, so many
    who are behind get on equally, and slowly, and leave the ledger's other threads to others.
    """

    def __init__(self, ledger: Ledger, offset: int, wish: Wish, cursors: Cursors, readers: asyncio.Semaphore) -> None:
        self._batches: AsyncGenerator[list[Record | Gap], None] = ledger.read(offset)
        self._wish = wish
        self._cursors = cursors
        self._readers = readers

    async def turn(self) -> Turn | None:
        """
        Return what comes next; None at the end.
        """
        async with self._readers:
            batch = await anext(self._batches, None)
            if batch is None:
                return None
            turn = await asyncio.to_thread(turn_of, batch, self._wish, self._cursors)
            # The ledger's generator holds the list until it is asked again, which a slow subscriber may do late.
            batch.clear()
            return turn

    async def close(self) -> None:
        """
        Let go of the ledger. No turn may be going on.
        """
        await self._batches.aclose()


def turn_of(batch: Sequence[Record | Gap], wish: Wish, cursors: Cursors) -> Turn:
    """
    Return the frames of a batch: what is wanted, every gap, and a record that holds no signal as the gap that it is.
    """
    frames: deque[Frame] = deque()
    run: list[Passed] = []
    last: Record | Gap | None = None
    written_at = 0
    for record in batch:
        item = record
        if isinstance(record, Record):
            written_at = record.position.written_at
            try:
                message = wish.wanted.message(record)
            except ValueError:
                item = lost(record, UNDECODABLE)
            else:
                if message is not None:
                    run.append(Passed(record.position.offset, partial(crc32, record.payload), message))
        if isinstance(item, Gap):
            if last is not None:
                frames += batch_frames(run, *place_behind(last, cursors), cursors, wish.batch_max)
            frames.append(gap_frame(item, cursors))
            run = []
        last = item
    if last is None:
        raise ValueError("a turn without records or gaps")
    offset, cursor = place_behind(last, cursors)
    frames += batch_frames(run, offset, cursor, cursors, wish.batch_max)
    return Turn(frames, offset, cursor, written_at)


def place_behind(item: Record | Gap, cursors: Cursors) -> tuple[int, str]:
    """
    Return the offset up to which an item covers the ledger, and the cursor there.
    """
    if isinstance(item, Gap):
        return item.last_offset, cursors.at(item.last_offset, 0)
    return item.position.offset, cursors.at(item.position.offset, crc32(item.payload))

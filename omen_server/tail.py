"""
The newest committed signals, decoded once for all who follow the ledger.

The ledger is the one way out, and this is a window on its end: what intake has appended lies here with the message it
was made of, so that emitter, stream and index need not read and decode it three times over. What is not here is read
from the ledger; nothing hangs on what is.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from zlib import crc32

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.position import Position
from omen_rpc.signal_codec import CodecError, decode
from omen_server.ledger.entry import Stampable
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.ledger.passage import UNDECODABLE, lost
from omen_server.ledger.segment import Record

BATCH_RECORDS = 500
WINDOW_RECORDS_MAX = 16_384
WINDOW_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Committed:
    """
    One durable signal, at its place. `event` is shared by all who follow: nobody may change it.
    """

    position: Position
    event: SignalEvent
    record: Stampable
    size_bytes: int

    @property
    def offset(self) -> int:
        """
        Its number in the whole ledger.
        """
        return self.position.offset

    def payload(self) -> bytes:
        """
        Return the bytes that lie in the ledger.
        """
        return self.record.stamp(self.position)

    def crc(self) -> int:
        """
        Return the checksum that lies in the record's frame.
        """
        return crc32(self.payload())


@dataclass(frozen=True, slots=True)
class AsRead:
    """
    A payload that has its stamp already.
    """

    payload: bytes

    def stamp(self, _position: Position) -> bytes:
        """
        Return the payload.
        """
        return self.payload


def stamped(event: SignalEvent, record: Stampable, position: Position) -> Committed:
    """
    Write into *event* what the ledger has decided, as reading it back would, and return it at its place.
    """
    seconds, nanos = divmod(position.written_at, 1_000_000_000)
    event.ledger_written_at.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    event.ledger_partition = position.partition
    event.ledger_sequence = position.sequence
    event.ledger_index = position.index
    event.ledger_offset = position.offset
    event.ledger_durable_offset = position.durable_offset
    return Committed(position, event, record, event.ByteSize())


class Tail:
    """
    The ledger's end in memory, at most so many records and bytes of it.
    """

    def __init__(
        self, ledger: Ledger, records_max: int = WINDOW_RECORDS_MAX, bytes_max: int = WINDOW_BYTES_MAX
    ) -> None:
        self._ledger = ledger
        self._records_max = records_max
        self._bytes_max = bytes_max
        # Not a plain dict: looking for its first entry passes all that were deleted in front of it.
        self._window: OrderedDict[int, Committed] = OrderedDict()
        self._bytes = 0

    @property
    def durable_offset(self) -> int:
        """
        The ledger's highest durable offset.
        """
        return self._ledger.durable_offset

    def offer(self, items: Iterable[Committed]) -> None:
        """
        Keep what has just been appended. Whoever appends calls this before anything else happens in the event loop.
        """
        window = self._window
        for item in items:
            window[item.offset] = item
            self._bytes += item.size_bytes
        while len(window) > self._records_max or (self._bytes > self._bytes_max and window):
            self._bytes -= window.popitem(last=False)[1].size_bytes

    def after(self, offset: int, records_max: int = BATCH_RECORDS) -> list[Committed]:
        """
        Return what the window holds right behind *offset*, in order; nothing when the ledger has to be read.
        """
        found: list[Committed] = []
        through = min(self._ledger.durable_offset, offset + records_max)
        for each in range(offset + 1, through + 1):
            item = self._window.get(each)
            if item is None:
                break
            found.append(item)
        return found

    async def wait_beyond(self, offset: int) -> int:
        """
        Return the durable offset as soon as it is higher than *offset*.
        """
        return await self._ledger.wait_beyond(offset)

    async def read(self, after_offset: int, through_offset: int = 0) -> AsyncGenerator[list[Committed | Gap], None]:
        """
        Yield batches from the ledger, in order and with its gaps, up to an offset or to what is durable now.
        """
        batches = self._ledger.read(after_offset, through_offset)
        async for batch in batches:
            # Decoding takes up to 50 µs a record: in a thread, so that others get their turns.
            yield await asyncio.to_thread(decoded, batch)

    async def follow(self, after_offset: int) -> AsyncGenerator[list[Committed | Gap], None]:
        """
        Yield everything behind an offset in order, for ever, from the window where it can and from the ledger else.
        """
        at = after_offset
        while True:
            held: list[Committed] = self.after(at)
            if held:
                yield [*held]
                at = held[-1].offset
            elif at < self._ledger.durable_offset:
                through = self._ledger.durable_offset
                async with aclosing(self.read(at, through)) as batches:
                    async for batch in batches:
                        yield batch
                        at = last_offset(batch)
                        if at + 1 in self._window:
                            break
            else:
                await self._ledger.wait_beyond(at)


def last_offset(batch: Sequence[Committed | Gap]) -> int:
    """
    Return the offset up to which a batch covers the ledger.
    """
    last = batch[-1]
    return last.last_offset if isinstance(last, Gap) else last.offset


def decoded(batch: Sequence[Record | Gap]) -> list[Committed | Gap]:
    """
    Return records as signals; one that is none although its frame is whole, as the gap that it is to a reader.
    """
    found: list[Committed | Gap] = []
    for item in batch:
        if isinstance(item, Gap):
            found.append(item)
            continue
        try:
            event = decode(item.payload)
        except CodecError:
            found.append(lost(item, UNDECODABLE))
            continue
        found.append(Committed(item.position, event, AsRead(item.payload), event.ByteSize()))
    return found

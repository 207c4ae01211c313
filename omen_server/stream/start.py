"""
Where a stream starts: from a cursor that is checked against the ledger, its beginning, a time, or now.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

from omen.v1.signal_service_pb2 import StreamSignalsRequest
from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.signal_codec import CodecError, decode
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.segment import Record
from omen_server.stream.cursor import Cursor, Cursors, read_cursor
from omen_server.tail import Tail

# The offset of the first record emitted at or after a time in nanoseconds, or None when there is none yet.
FirstSince: TypeAlias = Callable[[int], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Place:
    """
    The offset behind which a stream goes on, with its cursor.
    """

    offset: int
    cursor: str


@dataclass(frozen=True, slots=True)
class Starts:
    """
    Finds where streams of one ledger start. *readers* bounds how many look into the ledger at once.
    """

    ledger: Ledger
    tail: Tail
    cursors: Cursors
    first_since: FirstSince
    readers: asyncio.Semaphore

    async def place(self, request: StreamSignalsRequest) -> Place:
        """
        Return where *request* starts. CURSOR_MALFORMED and CURSOR_INVALID, never another place than the one asked for.
        """
        match request.WhichOneof("start"):
            case "after_cursor":
                return await self._after(request.after_cursor)
            case "from_beginning":
                return await self._earliest()
            case "since":
                first = await self.first_since(request.since.ToNanoseconds())
                offset = self.ledger.durable_offset if first is None else max(first - 1, 0)
                return await (self._earliest() if await self.ledger.is_deleted(offset) else self._at(offset))
            case _:
                return await self._at(self.ledger.durable_offset)

    async def _after(self, text: str) -> Place:
        cursor = read_cursor(text)
        wrong = self.cursors.foreign(cursor)
        if not wrong and cursor.offset > self.ledger.durable_offset:
            wrong = "The cursor lies beyond the end of the ledger."
        if not wrong and await self.ledger.is_deleted(cursor.offset):
            wrong = "The cursor is older than what the ledger still has."
        if not wrong and not await self._fits(cursor):
            wrong = "At the cursor's offset lies another record than the one it was taken behind."
        if wrong:
            raise await self._invalid(wrong)
        return Place(cursor.offset, text)

    async def _fits(self, cursor: Cursor) -> bool:
        """
        Tell whether the record of a cursor lies where it was. What has been lost since is told as a gap, if at all.
        """
        payload = await self._payload(cursor.offset)
        if payload is None:
            return cursor.crc == 0 or cursor.offset > 0
        return cursor.crc == crc32(payload) or (cursor.crc == 0 and not is_signal(payload))

    async def _at(self, offset: int) -> Place:
        payload = await self._payload(offset)
        return Place(offset, self.cursors.at(offset, 0 if payload is None else crc32(payload)))

    async def _earliest(self) -> Place:
        return await self._at(await self.ledger.retained_after())

    async def _invalid(self, text: str) -> CallError:
        earliest = await self._earliest()
        return fault(Reason.ERROR_REASON_CURSOR_INVALID, text, metadata={"earliest_cursor": earliest.cursor})

    async def _payload(self, offset: int) -> bytes | None:
        """
        Return what lies at an offset; None when nothing can be read there.
        """
        if offset == 0:
            return None
        held = self.tail.after(offset - 1, 1)
        if held:
            return held[0].payload()
        async with self.readers, aclosing(self.ledger.read(offset - 1, offset)) as batches:
            async for batch in batches:
                for item in batch:
                    if isinstance(item, Record) and item.position.offset == offset:
                        return item.payload
        return None


def is_signal(payload: bytes) -> bool:
    """
    Tell whether a record can be handed out. One that cannot was told as a gap, whose cursor has no CRC.
    """
    try:
        decode(payload)
    except CodecError:
        return False
    return True

"""
The records of a partition on their way to a reader: decoded, checked if asked to, cut into messages, the gaps counted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import CodecError, content_digest, decode

from .messages import gap_message
from .partition import Gap
from .segment import Record

UNDECODABLE = "The frame is whole and holds no signal"
OTHER_CONTENT = "The content is not the one that its digest was made of"


@dataclass(frozen=True, slots=True)
class Span:
    """
    Which positions of one partition are wanted: those behind *after* up to *through*, or only *indexes*.
    """

    partition: str
    after: int
    through: int
    indexes: Sequence[int] = ()

    def count(self, gap: Gap) -> int:
        """
        Return how many of the wanted positions lie in *gap*.
        """
        if self.indexes:
            return sum(gap.first_index <= index <= gap.last_index for index in self.indexes)
        return max(0, min(gap.last_index, self.through) - max(gap.first_index, self.after + 1) + 1)


class Passage:
    """
    One read. Counts what goes by; holds one batch of the ledger and one message at a time.
    """

    def __init__(
        self,
        *,
        validate: bool,
        batch_max: int,
        bytes_max: int,
        size_of: Callable[[Message], int],
        found: Callable[[Gap], None],
    ) -> None:
        self._validate = validate
        self._batch_max = batch_max
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._found = found
        self.record_count = 0
        self.gap_count = 0

    async def frames(
        self, span: Span, batches: AsyncIterator[list[Record | Gap]]
    ) -> AsyncIterator[pb.ReadPartitionResponse]:
        """
        Yield the messages for one partition's records and gaps, in their order.
        """
        async for items in batches:
            # Decoding takes 50 µs a record: in a thread, so that other calls get their turns.
            for group in self._groups(await asyncio.to_thread(self._decoded, items)):
                if isinstance(group, Gap):
                    self.gap_count += span.count(group)
                    self._found(group)
                    yield pb.ReadPartitionResponse(gap=gap_message(group))
                else:
                    self.record_count += len(group)
                    yield pb.ReadPartitionResponse(batch=pb.ReadPartitionResponse.Batch(events=group))

    def _decoded(self, items: list[Record | Gap]) -> list[SignalEvent | Gap]:
        return [item if isinstance(item, Gap) else self._event(item) for item in items]

    def _event(self, record: Record) -> SignalEvent | Gap:
        """
        Return the record's event; a gap in its place when the frame fits its checksum and is no signal all the same.
        """
        try:
            event = decode(record.payload)
        except CodecError:
            return lost(record, UNDECODABLE)
        if self._validate and event.content_digest and content_digest(event) != event.content_digest:
            return lost(record, OTHER_CONTENT)
        return event

    def _groups(self, items: list[SignalEvent | Gap]) -> Iterator[list[SignalEvent] | Gap]:
        """
        Yield gaps as they come, and events as many together as one message may hold by count and by bytes.
        """
        group: list[SignalEvent] = []
        size = 0
        for item in items:
            if isinstance(item, Gap):
                if group:
                    yield group
                yield item
                group, size = [], 0
                continue
            more = self._size_of(item)
            if group and (len(group) >= self._batch_max or size + more > self._bytes_max):
                yield group
                group, size = [], 0
            group.append(item)
            size += more
        if group:
            yield group


def lost(record: Record, reason: str) -> Gap:
    """
    Return the gap that a record leaves which cannot be handed out.
    """
    at = record.position
    return Gap(
        at.partition,
        at.index,
        at.index,
        at.sequence,
        at.sequence,
        at.offset,
        at.offset,
        record.file,
        record.byte_offset,
        reason,
    )

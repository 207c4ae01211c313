"""
The frames of a stream as bytes, put together from signals that are bytes already.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from omen.v1.signal_service_pb2 import StreamSignalsResponse
from omen_rpc.paging import ITEMS_BYTES_MAX
from omen_server.ledger.partition import Gap
from omen_server.stream.cursor import Cursors

ITEM_OVERHEAD_BYTES = 6


class Passed(NamedTuple):
    """
    A signal that passed a filter, as protobuf. Its record's CRC is asked for only where a cursor needs it.
    """

    offset: int
    crc: Callable[[], int]
    message: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One encoded frame, and where a stream is behind it. Shared: nobody changes it.
    """

    data: bytes
    offset: int
    cursor: str
    signals: int = 0


def tag_of(message: type[StreamSignalsResponse] | type[StreamSignalsResponse.Batch], name: str) -> bytes:
    """
    Return the byte that begins a field of text, bytes or messages.
    """
    return bytes([message.DESCRIPTOR.fields_by_name[name].number << 3 | 2])


CURSOR = tag_of(StreamSignalsResponse, "cursor")
BATCH = tag_of(StreamSignalsResponse, "batch")
EVENT = tag_of(StreamSignalsResponse.Batch, "events")


def batch_frame(cursor: str, messages: Sequence[bytes]) -> bytes:
    """
    Return the bytes of a frame with signals.
    """
    parts: list[bytes] = []
    for message in messages:
        parts += (EVENT, varint(len(message)), message)
    size = sum(map(len, parts))
    return b"".join((CURSOR, varint(len(cursor)), cursor.encode(), BATCH, varint(size), *parts))


def varint(number: int) -> bytes:
    """
    Return a number as protobuf writes it.
    """
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + varint(number >> 7)


def batch_frames(signals: Sequence[Passed], through: int, cursor: str, cursors: Cursors, count_max: int) -> list[Frame]:
    """
    Return frames with all of *signals*; the last one ends at *through*, whose cursor is given: nothing else is left.
    """
    cuts = list(cut(signals, count_max))
    frames = []
    for at, signals_of in enumerate(cuts, 1):
        last = signals_of[-1]
        here, behind = (through, cursor) if at == len(cuts) else (last.offset, cursors.at(last.offset, last.crc()))
        data = batch_frame(behind, [each.message for each in signals_of])
        frames.append(Frame(data, here, behind, len(signals_of)))
    return frames


def cut(signals: Sequence[Passed], count_max: int) -> Iterator[list[Passed]]:
    """
    Yield signals as many together as one frame may hold, by count and by bytes.
    """
    held: list[Passed] = []
    size = 0
    for signal in signals:
        more = len(signal.message) + ITEM_OVERHEAD_BYTES
        if held and (len(held) >= count_max or size + more > ITEMS_BYTES_MAX):
            yield held
            held, size = [], 0
        held.append(signal)
        size += more
    if held:
        yield held


def gap_frame(gap: Gap, cursors: Cursors) -> Frame:
    """
    Return the frame that tells of offsets lost.
    """
    cursor = cursors.at(gap.last_offset, 0)
    told = StreamSignalsResponse.Gap(first_offset=gap.first_offset, last_offset=gap.last_offset, reason=gap.reason)
    return Frame(StreamSignalsResponse(cursor=cursor, gap=told).SerializeToString(), gap.last_offset, cursor)

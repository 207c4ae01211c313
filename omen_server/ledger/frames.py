"""
Frames as they lie on disk, for whoever wants to look at the bytes.
"""

from dataclasses import dataclass

from .durable import Disk
from .entry import Codec
from .format import HEADER_BYTES, Damage
from .marks import Marks
from .partition import PartitionFiles
from .reader import Limit
from .segment import load_segment, read_segment

# Damage is shown from its beginning; what is behind this much of it is no more telling.
SHOWN_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class RawFrame:
    """
    One frame's bytes. For damage the header and payload are the bytes in those places, whatever they are.
    """

    file: str
    byte_offset: int
    header: bytes
    payload: bytes
    checksum_matches: bool
    sequence: int
    index: int


def raw_frames(
    disk: Disk, files: PartitionFiles, codec: Codec, *, after_index: int, frames_max: int, limit: Limit | None
) -> list[RawFrame]:
    """
    Return at most *frames_max* frames behind a position; damage counts as the frame it took the place of.
    """
    found: list[RawFrame] = []
    ordinals = [ordinal for ordinal in files.segments if limit is None or ordinal <= limit.ordinal]
    first = Marks().segment_before(disk, files, ordinals, codec, index=after_index)
    last = None
    for ordinal in ordinals[first:]:
        file = files.segments[ordinal]
        end = limit.size_bytes if limit is not None and limit.ordinal == ordinal else None
        data = load_segment(disk, f"{files.directory}/{file}")[:end]
        for item in read_segment(data, files.name, file, codec.position_of, last):
            damaged = isinstance(item, Damage)
            start = item.start if isinstance(item, Damage) else item.byte_offset
            stop = min(item.end, start + HEADER_BYTES + SHOWN_BYTES_MAX) if damaged else item.end
            if not isinstance(item, Damage):
                last = item.position
            sequence, index = (last.sequence, last.index) if last is not None else (ordinal << 32, 0)
            if damaged:
                sequence, index = sequence + 1, index + 1
            if index > after_index:
                body = start + HEADER_BYTES
                found.append(RawFrame(file, start, data[start:body], data[body:stop], not damaged, sequence, index))
            if len(found) >= frames_max:
                return found
    return found

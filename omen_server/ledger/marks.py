"""
Where in a segment a position lies, roughly: enough to begin reading near it. All of it can be found again by reading.
"""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from omen_rpc.position import Position

from .durable import Disk
from .entry import Codec
from .partition import PartitionFiles
from .segment import Record, stream_segment

STRIDE_BYTES = 1 << 14
SEGMENTS_MAX = 1024


class Marks:
    """
    For each segment a few records and the bytes where their frames start, the first one always among them.

    Shared by the writer, which notes what it commits, and by readers, which note what they pass; bounded, oldest out.
    """

    def __init__(self) -> None:
        self._segments: OrderedDict[tuple[str, int], list[tuple[int, int, int]]] = OrderedDict()
        self._lock = Lock()

    def note(self, partition: str, ordinal: int, position: Position, byte_offset: int) -> None:
        """
        Remember where a record's frame starts, unless one close before it is known.
        """
        marks = self._segments.get((partition, ordinal))
        if marks is not None and byte_offset < marks[-1][2] + STRIDE_BYTES:
            return
        with self._lock:
            marks = self._segments.setdefault((partition, ordinal), [])
            if (byte_offset == 0) if not marks else (byte_offset >= marks[-1][2] + STRIDE_BYTES):
                marks.append((position.index, position.offset, byte_offset))
            if not marks:
                del self._segments[partition, ordinal]
            while len(self._segments) > SEGMENTS_MAX:
                self._segments.popitem(last=False)

    def byte_before(self, partition: str, ordinal: int, *, index: int = 0, offset: int = 0) -> int:
        """
        Return the last known byte whose record lies at or before the index or the offset after which reading begins.
        """
        best = 0
        for at_index, at_offset, byte_offset in self._segments.get((partition, ordinal), ()):
            if at_index > index and at_offset > offset:
                break
            best = byte_offset
        return best

    def segment_before(
        self,
        disk: Disk,
        files: PartitionFiles,
        ordinals: Sequence[int],
        codec: Codec,
        *,
        index: int = 0,
        offset: int = 0,
    ) -> int:
        """
        Return the place in *ordinals* of the segment in which reading begins.
        """
        if index == 0 and offset == 0:
            return 0
        for at in range(len(ordinals) - 1, 0, -1):
            first = self.first(disk, files, ordinals[at], codec)
            if first is not None and (first[0] <= index or first[1] <= offset):
                return at
        return 0

    def first(self, disk: Disk, files: PartitionFiles, ordinal: int, codec: Codec) -> tuple[int, int] | None:
        """
        Return the index and offset of a segment's first record; None when it has none.
        """
        known = self._segments.get((files.name, ordinal))
        if known:
            return known[0][:2]
        file = files.segments[ordinal]
        for item in stream_segment(disk, files.directory, file, files.name, codec.position_of):
            if isinstance(item, Record):
                self.note(files.name, ordinal, item.position, item.byte_offset)
                return item.position.index, item.position.offset
        return None

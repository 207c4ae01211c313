"""
A ledger seen from outside of the process that writes it, while a server runs or not. Nothing here changes a byte.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import audit
from .catalogue import OpenFigures, PartitionInfo, describe
from .durable import Disk
from .entry import Codec
from .errors import PartitionNotFound
from .fingerprint import Fingerprints
from .frames import RawFrame, raw_frames
from .identity import read_identity
from .lock import is_locked
from .marks import Marks
from .partition import Gap, PartitionFiles, partition_names, read_partition_files
from .reader import Limit, Walk, merge
from .segment import Record, stream_segment

_EVERYTHING = 1 << 62


class OfflineLedger:
    """
    Reads a ledger's directory as it is at the moment of each call.

    Every whole frame is read; one that nothing proves durable yet is marked. While somebody writes, an incomplete end
    is taken for a frame in flight.
    """

    def __init__(self, directory: Path, codec: Codec, disk: Disk | None = None) -> None:
        self._root, self._codec, self._disk = str(directory.absolute()), codec, disk or Disk()
        self._marks = Marks()
        self.identity = read_identity(self._disk, self._root)

    def is_live(self) -> bool:
        """
        Tell whether some process writes the ledger right now.
        """
        return is_locked(self._root)

    def names(self) -> list[str]:
        """
        Return the partitions' names, archived ones too, oldest first.
        """
        return partition_names(self._disk, self._root)

    def partition(self, name: str) -> PartitionInfo:
        """
        Describe one partition; an open one is counted by reading it.
        """
        files = self._files(name)
        sums = Fingerprints(files.directory)
        if not files.sealed:
            sums.advance(lambda index: self._walk(files, after_index=index), self._codec)
        limit = Limit(files.last_ordinal, _EVERYTHING, sums.through)
        figures = OpenFigures(
            limit=limit,
            first_offset=sums.first_offset,
            distinct_signal_ids=sums.distinct_signal_ids(),
            corrupt_count=sums.lost,
        )
        return describe(self._disk, files, figures)

    def read_partition(self, name: str, after_index: int = 0) -> Iterator[Record | Gap]:
        """
        Yield a partition's records and gaps behind a position, in order.
        """
        proven = self.proven_offset()
        for item in self._walk(self._files(name), after_index=after_index):
            yield _marked(item, proven)

    def read(self, after_offset: int = 0) -> Iterator[Record | Gap]:
        """
        Yield everything behind an offset in the order of offsets: a prefix without holes, however fast it is written.

        The proof is taken before the directory is listed, so every proven offset is in the listing. Beyond it a running
        writer may have put a record where this read had already looked: there the read ends.
        """
        live, proven = self.is_live(), self.proven_offset()
        walks = []
        for name in self.names():
            files = self._files(name)
            if files.segments:
                first = self._marks.first(self._disk, files, min(files.segments), self._codec)
                walks.append((first[1] if first else 0, partial(self._walk, files, after_offset=after_offset)))
        for item in merge(walks, after_offset, None):
            if live and isinstance(item, Gap) and item.last_offset > proven:
                return
            yield _marked(item, proven)

    def proven_offset(self) -> int:
        """
        Return the highest offset that some record, roll or seal states to be durable.
        """
        proven = 0
        for name in self.names():
            files = self._files(name)
            if files.manifest is not None:
                proven = max(proven, files.manifest.last_offset)
            newest = True
            for ordinal, file in reversed(files.segments.items()) if not files.sealed else ():
                found = stream_segment(self._disk, files.directory, file, name, self._codec.position_of)
                last = None
                for item in found:
                    if isinstance(item, Record):
                        last = item.position
                        self._marks.note(name, ordinal, last, item.byte_offset)
                if last is not None:
                    # Before a next segment was begun, all of this one had been synced.
                    proven = max(proven, last.durable_offset if newest else last.offset)
                    break
                newest = False
        return proven

    def verify(self, name: str) -> Iterator[audit.Progress | audit.Verdict]:
        """
        Derive everything about a partition again from its bytes.
        """
        return audit.verify(self._disk, self._root, name, self._codec, live=self.is_live())

    def prove(self, signal_id: str, partition: str | None = None) -> audit.Proof:
        """
        Return a proof that a sealed partition holds a signal.
        """
        return audit.prove(self._disk, self._root, signal_id, self._codec, partition)

    def frames(self, name: str, after_index: int, frames_max: int) -> list[RawFrame]:
        """
        Return frames as they lie on disk, damaged ones too.
        """
        return raw_frames(
            self._disk, self._files(name), self._codec, after_index=after_index, frames_max=frames_max, limit=None
        )

    def _files(self, name: str) -> PartitionFiles:
        if name not in self.names():
            raise PartitionNotFound(name)
        return read_partition_files(self._disk, self._root, name)

    def _walk(self, files: PartitionFiles, after_index: int = 0, after_offset: int = 0) -> Walk:
        live = not files.sealed and self.is_live()
        return Walk(self._disk, files, self._codec, self._marks, after_index, after_offset, open_end=live)


def _marked(item: Record | Gap, proven: int) -> Record | Gap:
    if isinstance(item, Record) and item.position.offset > proven:
        return replace(item, unproven=True)
    return item

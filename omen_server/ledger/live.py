"""
Reading inside the writing process: up to what is durable, through marks that the writer keeps warm.

Everything here runs in reader threads and blocks; `Ledger` is what the event loop sees.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from threading import Lock

from .catalogue import OpenFigures, PartitionInfo, describe
from .durable import Disk
from .entry import Codec
from .fingerprint import Block, Fingerprints
from .frames import RawFrame, raw_frames
from .journal import Journal
from .marks import Marks
from .partition import Gap, PartitionFiles, read_partition_files
from .reader import Walk, merge
from .seal import skipped_count
from .segment import Record

# Wanted positions closer together than this are read in one pass.
LEAP_POSITIONS = 256
KEPT_EVERY_RECORDS = 1 << 16
# So many records' counts stay in memory, at 8 bytes each; of a day nobody has asked for lately the sidecar has them.
COUNTED_RECORDS_MAX = 4 << 20


class LiveReader:
    """
    Reads what the journal has made durable, and keeps the counts of what it has read.
    """

    def __init__(self, disk: Disk, root: str, codec: Codec, journal: Journal, marks: Marks) -> None:
        self._disk, self._root, self._codec = disk, root, codec
        self._journal, self._marks = journal, marks
        self._files: dict[str, tuple[tuple[int, bool], PartitionFiles]] = {}
        self._fingerprints: OrderedDict[str, Fingerprints] = OrderedDict()
        self._kept: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._counting = Lock()

    def files(self, name: str) -> PartitionFiles:
        """
        Return what a partition's directory holds, looked at again whenever the writer has begun another segment.
        """
        tail = self._journal.tails()[name]
        state = tail.ordinal, tail.sealed
        known = self._files.get(name)
        if known is None or known[0] != state:
            known = state, read_partition_files(self._disk, self._root, name)
            self._files[name] = known
        return known[1]

    def look_again(self) -> None:
        """
        Forget what the directories held: a seal or the lifecycle has changed it.
        """
        self._files.clear()
        self._sizes.clear()

    def everything(self, after_offset: int, through_offset: int) -> Iterator[Record | Gap]:
        """
        Yield records and gaps of all partitions by offset.
        """
        walks = []
        for name, tail in self._journal.tails().items():
            if tail.offset > after_offset:
                files = self.files(name)
                begin = (
                    self._marks.first(self._disk, files, min(files.segments), self._codec) if files.segments else None
                )
                walks.append((begin[1] if begin else 0, partial(self._walk, files, after_offset=after_offset)))
        return merge(walks, after_offset, through_offset)

    def retained_after(self) -> int:
        """
        Return the offset up to which retention has deleted everything; 0 when it has deleted nothing.
        """
        all_files = [self.files(name) for name in self._journal.tails()]
        if all(files.segments or files.manifest is None for files in all_files):
            return 0
        kept = [self._first_offset(files) for files in all_files if files.segments]
        return min((offset for offset in kept if offset), default=self._journal.durable_offset + 1) - 1

    def partition(
        self, name: str, after_index: int, through_index: int, indexes: Sequence[int]
    ) -> Iterator[Record | Gap]:
        """
        Yield a partition's records and gaps in a range, or at chosen positions only.
        """
        files = self.files(name)
        if indexes:
            yield from self._chosen(files, sorted(set(indexes)))
            return
        for item in self._walk(files, after_index):
            first = item.position.index if isinstance(item, Record) else item.first_index
            if through_index and first > through_index:
                return
            yield item

    def frames(self, name: str, after_index: int, frames_max: int) -> list[RawFrame]:
        """
        Return frames as they lie on disk.
        """
        limit = self._journal.limits.get(name)
        return raw_frames(
            self._disk, self.files(name), self._codec, after_index=after_index, frames_max=frames_max, limit=limit
        )

    def blocks(self, name: str, first_index: int, through_index: int) -> list[Block]:
        """
        Return block fingerprints of a range.
        """
        files = self.files(name)
        sums = self._counted(files)
        through = through_index or sums.through
        return list(sums.blocks(lambda index: self._walk(files, index), self._codec, first_index, through))

    def gaps(self, name: str) -> list[Gap]:
        """
        Return the gaps that counting has met: exactly what the fingerprints leave out, whatever a seal states.
        """
        return list(self._counted(self.files(name)).gaps)

    def describe(self, name: str) -> PartitionInfo:
        """
        Return what a partition is; an open one is counted up to now.
        """
        files = self.files(name)
        sums = Fingerprints(files.directory) if files.sealed else self._counted(files)
        tail = self._journal.tails()[name]
        figures = OpenFigures(
            limit=self._journal.limits[name],
            last_sequence=(tail.ordinal << 32) | tail.record,
            first_offset=sums.first_offset,
            last_offset=tail.offset,
            distinct_signal_ids=sums.distinct_signal_ids(),
            corrupt_count=sums.lost,
            sealing=tail.sealed,
        )
        return describe(self._disk, files, figures)

    def size(self) -> tuple[int, int]:
        """
        Return how many records there are and how many bytes they take, by what directories say. Gaps that damage has
        made are not looked for, so that they still count.
        """
        total_records = total_bytes = 0
        for name, tail in self._journal.tails().items():
            files = self.files(name)
            size = self._sizes.get(name)
            if size is None:
                paths = (f"{files.directory}/{file}" for file in files.segments.values())
                records = tail.index - skipped_count(files) if files.segments else 0
                size = records, sum(self._disk.size(path) or 0 for path in paths)
                if files.sealed:
                    self._sizes[name] = size
            total_records += size[0]
            total_bytes += size[1]
        return total_records, total_bytes

    def keep_counts(self) -> None:
        """
        Leave the sidecars for the next start.
        """
        for sums in self._fingerprints.values():
            sums.save(self._disk)

    def is_deleted(self, offset: int) -> bool:
        """
        Tell whether retention has deleted what lies around *offset*. Newest first, so that most ask little.
        """
        for name, _ in sorted(self._journal.tails().items(), key=lambda each: each[1].offset, reverse=True):
            files = self.files(name)
            if files.segments and 0 < self._first_offset(files) <= offset + 1:
                return False
        return offset < self.retained_after()

    def _first_offset(self, files: PartitionFiles) -> int:
        """
        Return the offset of a partition's first record, as its manifest has it or as it lies there; 0 without one.
        """
        if files.manifest is not None and files.manifest.first_offset:
            return files.manifest.first_offset
        first = self._marks.first(self._disk, files, min(files.segments), self._codec)
        return first[1] if first else 0

    def _walk(self, files: PartitionFiles, after_index: int = 0, after_offset: int = 0) -> Walk:
        limit = self._journal.limits.get(files.name)
        return Walk(self._disk, files, self._codec, self._marks, after_index, after_offset, limit)

    def _chosen(self, files: PartitionFiles, wanted: list[int]) -> Iterator[Record | Gap]:
        """
        Leap from mark to mark; neighbours are read in one go.
        """
        while wanted:
            for item in self._walk(files, wanted[0] - 1):
                first = item.position.index if isinstance(item, Record) else item.first_index
                last = first if isinstance(item, Record) else item.last_index
                if first <= wanted[0] <= last:
                    yield item
                    wanted = [index for index in wanted if index > last]
                if not wanted or wanted[0] > last + LEAP_POSITIONS:
                    break
            else:
                return

    def _counted(self, files: PartitionFiles) -> Fingerprints:
        """
        Return a partition's sums up to what is durable now. One thread counts at a time; the others find it done.
        """
        with self._counting:
            through = self._journal.tails()[files.name].index
            sums = self._fingerprints.get(files.name)
            if sums is None or sums.directory != files.directory:
                sums = Fingerprints.load(self._disk, files.directory)
                # A sidecar that knows more than there is belongs to some other past.
                sums = sums if sums.through <= through else Fingerprints(files.directory)
                self._fingerprints[files.name] = sums
            self._fingerprints.move_to_end(files.name)
            if sums.through < through:
                sums.advance(lambda index: self._walk(files, index), self._codec)
                # Counting a day again after a crash costs a decoding of every record: not more than so many of them.
                if files.sealed or sums.through - self._kept.get(files.name, 0) >= KEPT_EVERY_RECORDS:
                    sums.save(self._disk)
                    self._kept[files.name] = sums.through
            self._forget()
            return sums

    def _forget(self) -> None:
        """
        Leave to the sidecars what has not been asked for the longest; what was asked for last stays, however large.
        """
        counted = sum(len(sums.ids) for sums in self._fingerprints.values())
        while counted > COUNTED_RECORDS_MAX and len(self._fingerprints) > 1:
            name, sums = self._fingerprints.popitem(last=False)
            counted -= len(sums.ids)
            if sums.through > self._kept.get(name, 0):
                sums.save(self._disk)
                self._kept[name] = sums.through

"""
Reading, and never writing: the records of a partition in order, with every position that cannot be read named as a gap.

The same code reads inside the server, where it stops at what is durable, and from any other process, where a file may
end in a frame that is still in flight.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from omen_rpc.position import Position

from .durable import Disk
from .entry import Codec, sequence_of
from .format import Damage
from .marks import Marks
from .partition import Gap, PartitionFiles, is_deleted
from .segment import Record, stream_segment


@dataclass(frozen=True, slots=True)
class Limit:
    """
    How far a partition may be read: up to a byte of one segment, and no later segment. `index` is the position there.
    """

    ordinal: int
    size_bytes: int
    index: int


@dataclass(slots=True)
class Walk:
    """
    One pass over a partition, from behind an index or an offset.

    `open_end` says that the end of the newest segment may be a frame in flight, so that damage there is nobody's loss.
    `trailing` is, after the pass, the damage behind the last record, whatever its reason.
    """

    disk: Disk
    files: PartitionFiles
    codec: Codec
    marks: Marks
    after_index: int = 0
    after_offset: int = 0
    limit: Limit | None = None
    open_end: bool = False
    trailing: tuple[str, Damage] | None = None
    _last: Position | None = None

    def __iter__(self) -> Iterator[Record | Gap]:
        """
        Yield records and gaps in the order of positions.
        """
        # Which index follows an offset shows only when the first record is there.
        expected = self.after_index + 1 if self.after_offset == 0 else 0
        for file, item in self._items():
            if isinstance(item, Damage):
                self.trailing = self.trailing or (file, item)
                continue
            position = item.position
            expected = expected or position.index
            if position.index >= expected:
                if position.index > expected:
                    yield self._gap_before(item, expected)
                expected = position.index + 1
                yield item
            self._last, self.trailing = position, None
        yield from self._end(expected)

    def _items(self) -> Iterator[tuple[str, Record | Damage]]:
        files, limit = self.files, self.limit
        ordinals = [ordinal for ordinal in files.segments if limit is None or ordinal <= limit.ordinal]
        first = self.marks.segment_before(
            self.disk, files, ordinals, self.codec, index=self.after_index, offset=self.after_offset
        )
        for ordinal in ordinals[first:]:
            file = files.segments[ordinal]
            start = self.marks.byte_before(files.name, ordinal, index=self.after_index, offset=self.after_offset)
            end = limit.size_bytes if limit is not None and limit.ordinal == ordinal else None
            for item in stream_segment(
                self.disk,
                files.directory,
                file,
                files.name,
                self.codec.position_of,
                start=start,
                end=end,
                after=self._last,
            ):
                if isinstance(item, Record):
                    self.marks.note(files.name, ordinal, item.position, item.byte_offset)
                yield file, item

    def _gap_before(self, record: Record, expected: int) -> Gap:
        """
        Name the positions between the last record and this one.
        """
        after, last = record.position, self._last
        named = next((gap for gap in self.files.gaps if gap.first_index <= expected <= gap.last_index), None)
        if named is not None and named.last_index == after.index - 1:
            return replace(named, first_index=expected)
        file, damage = self.trailing or (record.file, Damage(record.byte_offset, record.byte_offset, "Bytes are gone"))
        count = after.index - expected
        first_offset = last.offset + 1 if last is not None else 1
        if after.offset - after.durable_offset > count:
            # All of them were written in one group with this record, so they lie right before it.
            first_offset = after.offset - count
        begin = sequence_of(1, 1) if expected == 1 else after.sequence - count
        first_sequence = last.sequence + 1 if last is not None else begin
        same = first_sequence >> 32 == after.sequence >> 32
        return Gap(
            self.files.name,
            expected,
            after.index - 1,
            first_sequence,
            after.sequence - 1 if same else first_sequence + count - 1,
            first_offset,
            after.offset - 1,
            file,
            damage.start,
            damage.reason,
        )

    def _end(self, expected: int) -> Iterator[Gap]:
        """
        Name what is behind the last record: skipped positions, or damage whose extent nobody can tell.
        """
        for gap in self.files.gaps:
            if gap.last_index >= expected > 0:
                yield replace(gap, first_index=max(gap.first_index, expected))
                expected = gap.last_index + 1
                self.trailing = None
        through = expected if self.limit is None else max(self.limit.index, expected - 1)
        if expected == 0 or through < expected or (self.limit is None and (self.trailing is None or self.open_end)):
            return
        deleted = not self.files.segments and is_deleted(self.disk, self.files)
        file, damage = self.trailing or (
            "",
            Damage(0, 0, "Deleted after its retention" if deleted else "Bytes are gone"),
        )
        count = through - expected
        sequence = self._last.sequence + 1 if self._last is not None else 1
        offset = self._last.offset + 1 if self._last is not None else 1
        last_offset = offset + count
        if (manifest := self.files.manifest) is not None and through <= manifest.last_ledger_index:
            # Records of other partitions may lie between those that are gone; the seal knows how far they reached.
            offset, last_offset = max(offset, manifest.first_offset), max(last_offset, manifest.last_offset)
        yield Gap(
            self.files.name,
            expected,
            through,
            sequence,
            sequence + count,
            offset,
            last_offset,
            file,
            damage.start,
            damage.reason,
            deleted=deleted,
        )


def merge(
    walks: Iterable[tuple[int, Callable[[], Iterable[Record | Gap]]]], after_offset: int, through_offset: int | None
) -> Iterator[Record | Gap]:
    """
    Yield the records of several partitions in the order of offsets, with every hole between them named.

    Each walk comes with an offset that its first record does not lie below, and is begun when the merge gets there.
    Without *through_offset* the merge ends with the last record, wherever that is.
    """
    waiting = sorted(walks, key=lambda walk: walk[0], reverse=True)
    running: list[tuple[Record, Iterator[Record | Gap]]] = []
    named: list[Gap] = []
    expected = after_offset + 1
    while waiting or running:
        running.sort(key=lambda head: head[0].position.offset, reverse=True)
        if waiting and (not running or waiting[-1][0] <= running[-1][0].position.offset):
            _advance(iter(waiting.pop()[1]()), running, named, expected)
            continue
        record, rest = running.pop()
        if through_offset is not None and record.position.offset > through_offset:
            break
        if record.position.offset > expected:
            yield _hole(named, expected, record.position.offset - 1)
        expected = record.position.offset + 1
        yield record
        _advance(rest, running, named, expected)
    if through_offset is not None and expected <= through_offset:
        yield _hole(named, expected, through_offset)


def _advance(
    walk: Iterator[Record | Gap], running: list[tuple[Record, Iterator[Record | Gap]]], named: list[Gap], expected: int
) -> None:
    """
    Move a walk to its next record that counts, keeping the gaps on the way for their reasons.
    """
    for item in walk:
        if isinstance(item, Gap):
            named.append(item)
            del named[:-64]
        elif item.position.offset >= expected:
            running.append((item, walk))
            return


def _hole(named: list[Gap], first: int, last: int) -> Gap:
    """
    Name offsets that no record holds, with the reason of the partition's gap that explains them, when one does.

    Where several might, the narrowest knows best: a gap's offsets are the widest they can be.
    """
    fitting = [gap for gap in named if gap.first_offset <= last and gap.last_offset >= first]
    if not fitting:
        return Gap("", 0, 0, 0, 0, first, last, "", 0, "No record holds these offsets")
    found = min(fitting, key=lambda gap: gap.last_offset - gap.first_offset)
    return replace(found, first_offset=first, last_offset=last)

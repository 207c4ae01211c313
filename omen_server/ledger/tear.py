"""
Telling a torn tail from corruption.

Damage is classified, never guessed: only what a crash leaves of a write that nobody was told about may be cut away;
everything else stays where it is and becomes a gap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from omen_rpc.position import Position

from .durable import Disk
from .entry import Codec
from .format import Damage, looks_torn
from .manifest import Manifest
from .partition import PartitionFiles
from .segment import Record, load_segment, read_segment


@dataclass(slots=True)
class TailScan:
    """
    The newest segment of a partition that takes records, read whole.

    `before` is the last record ahead of this segment and `loose` the damage behind that record, if any.
    """

    files: PartitionFiles
    ordinal: int
    data: bytes
    items: list[Record | Damage]
    before: Position | None
    loose: tuple[str, Damage] | None

    @property
    def last(self) -> Position | None:
        """
        Return the position of the last record that can be read.
        """
        return next((item.position for item in reversed(self.items) if isinstance(item, Record)), self.before)

    @property
    def trailing(self) -> tuple[str, Damage] | None:
        """
        Return the damage behind the last record, with its file, when there is any.
        """
        if self.items:
            return (self.files.segments[self.ordinal], self.items[-1]) if isinstance(self.items[-1], Damage) else None
        return self.loose

    def cut_at(self, damage: Damage) -> None:
        """
        Forget what lies at and behind *damage*.
        """
        self.items = self.items[: self.items.index(damage)]
        self.data = self.data[: damage.start]


def scan_tail(disk: Disk, files: PartitionFiles, codec: Codec) -> TailScan:
    """
    Read the newest segment, and as many before it as it takes to find a record.
    """
    scans = segments_backwards(disk, files, codec)
    ordinal, data, items = next(scans, (0, b"", []))
    before: Position | None = None
    loose: tuple[str, Damage] | None = None
    # Damage ahead of every record may turn out to be a tear, and then nothing of this segment is left.
    if ordinal and not (items and isinstance(items[0], Record)):
        for older, _, older_items in scans:
            if loose is None and older_items and isinstance(older_items[-1], Damage):
                loose = files.segments[older], older_items[-1]
            before = next((item.position for item in reversed(older_items) if isinstance(item, Record)), None)
            if before is not None:
                break
        if before is None and files.manifest is not None:
            # What was sealed before this segment is gone, deleted after its retention: its numbers stay used.
            sealed = files.manifest
            before = Position(
                files.name, sealed.last_ledger_sequence, sealed.last_ledger_index, sealed.last_offset, 0, 0
            )
    return TailScan(files, ordinal, data, items, before, loose)


def segments_backwards(
    disk: Disk, files: PartitionFiles, codec: Codec
) -> Iterator[tuple[int, bytes, list[Record | Damage]]]:
    """
    Yield a partition's segments from the newest on, each with its bytes and what is in them.
    """
    for ordinal, file in reversed(files.segments.items()):
        data = load_segment(disk, f"{files.directory}/{file}")
        yield ordinal, data, list(read_segment(data, files.name, file, codec.position_of))


def find_tears(
    disk: Disk, tails: Sequence[TailScan], others: Sequence[PartitionFiles], codec: Codec
) -> list[Damage | None]:
    """
    Return for each tail where it is torn, or None.

    Groups of records are synced one after the other over the whole ledger, so a crash tears one tail at most. Two tails
    that look torn were damaged by something else, and neither is cut.
    """
    tears = [_tear(tail) for tail in tails]
    if sum(tear is not None for tear in tears) > 1:
        return [None] * len(tears)
    for at, (tail, tear) in enumerate(zip(tails, tears, strict=True)):
        rest = [other.files for other in tails if other is not tail]
        if tear is not None and _proven_lost(disk, tail, tear, [*rest, *others], codec):
            tears[at] = None
    return tears


def _tear(tail: TailScan) -> Damage | None:
    """
    Return the first damage that a crash can have left, as far as this segment tells.
    """
    previous = tail.before
    for at, item in enumerate(tail.items):
        if isinstance(item, Record):
            previous = item.position
        elif looks_torn(tail.data, item) and not _is_named(tail, item):
            behind = [later.position for later in tail.items[at + 1 :] if isinstance(later, Record)]
            if _same_group(tail.ordinal, previous, behind):
                return item
    return None


def _is_named(tail: TailScan, damage: Damage) -> bool:
    """
    Tell whether an earlier recovery called this damage corruption: it stays that, whatever else has changed since.
    """
    file = tail.files.segments[tail.ordinal]
    return any((gap.file, gap.byte_offset) == (file, damage.start) for gap in tail.files.gaps)


def _same_group(ordinal: int, previous: Position | None, behind: Sequence[Position]) -> bool:
    """
    Tell whether what was lost belongs to the group of the records behind it, so that no sync can have covered it.

    A group's records all state the offset before the group's first as durable: the distance to it is their rank.
    """
    if not behind:
        return True
    first = behind[0]
    lost_after = previous.sequence & 0xFFFFFFFF if previous is not None and previous.sequence >> 32 == ordinal else 0
    lost = (first.sequence & 0xFFFFFFFF) - lost_after - 1
    rank = first.offset - first.durable_offset
    return lost < rank and all(position.durable_offset == first.durable_offset for position in behind)


def _proven_lost(disk: Disk, tail: TailScan, tear: Damage, others: Sequence[PartitionFiles], codec: Codec) -> bool:
    """
    Tell whether another partition shows that what was lost had been made durable.

    Offsets are dense. If one below another partition's newest is nowhere, it was here, and was synced before that one.
    """
    after = next(
        (item.position.offset for item in reversed(tail.items[: tail.items.index(tear)]) if isinstance(item, Record)),
        tail.before.offset if tail.before is not None else 0,
    )
    counted, newest = 0, after
    known: set[int] = set()
    for files in others:
        manifest, unsealed = files.manifest, files
        if manifest is not None and files.sealed and manifest.last_offset <= after:
            continue
        if manifest is not None and _first_offset(manifest) > after:
            # A position is an offset, so the seal's word for one is enough: years of sealed days are neither read nor
            # missed when they were deleted after their retention.
            counted, newest = counted + manifest.last_ledger_index, max(newest, manifest.last_offset)
            unsealed = _beyond_seal(files, manifest)
        known.update(_offsets_after(disk, unsealed, after, codec))
        known.update(_skipped_after(unsealed, after))
    known.update(_skipped_after(tail.files, after))
    return counted + len(known) < max((newest, *known)) - after


def _first_offset(manifest: Manifest) -> int:
    """
    Return an offset that nothing in sealed segments lies below.
    """
    return min((manifest.first_offset, *(int(gap["first_offset"]) for gap in manifest.gaps)))


def _beyond_seal(files: PartitionFiles, manifest: Manifest) -> PartitionFiles:
    """
    Return what a partition has that its newest seal does not cover.
    """
    segments = {ordinal: file for ordinal, file in files.segments.items() if ordinal > manifest.last_ordinal}
    gaps = tuple(gap for gap in files.gaps if gap.first_index > manifest.last_ledger_index)
    return replace(files, segments=segments, gaps=gaps)


def _skipped_after(files: PartitionFiles, after: int) -> Iterator[int]:
    for gap in files.gaps:
        yield from range(max(gap.first_offset, after + 1), gap.last_offset + 1) if gap.skipped else ()


def _offsets_after(disk: Disk, files: PartitionFiles, after: int, codec: Codec) -> Iterator[int]:
    for _, _, items in segments_backwards(disk, files, codec):
        offsets = [item.position.offset for item in items if isinstance(item, Record)]
        yield from (offset for offset in offsets if offset > after)
        if offsets and offsets[0] <= after:
            return

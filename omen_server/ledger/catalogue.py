"""
What can be said of a partition without reading its records.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from .durable import Disk
from .manifest import SealedSegment
from .names import ARCHIVE, COMPRESSED, MANIFEST, RECONCILED, date_of, is_late
from .partition import Gap, PartitionFiles, is_deleted
from .reader import Limit
from .seal import skipped_count


class PartitionState(StrEnum):
    """
    Where a partition is in its life.
    """

    OPEN = "OPEN"
    SEALING = "SEALING"
    SEALED = "SEALED"
    WARM = "WARM"
    ARCHIVED = "ARCHIVED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """
    One file of a partition. Sizes and hashes are of the uncompressed bytes; hashes are empty until sealed.
    """

    file: str
    record_count: int
    size_bytes: int
    checksum: str
    sha256: str
    sealed: bool


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """
    One partition. `distinct_signal_ids` and `corrupt_count` of an open one are as of the last count.
    """

    partition: str
    partition_date: str
    state: PartitionState
    is_sealed: bool
    is_late: bool
    total_records: int
    last_index: int
    last_sequence: int
    first_offset: int
    last_offset: int
    distinct_signal_ids: int
    corrupt_count: int
    segments: tuple[SegmentInfo, ...]
    sealed_at: str
    manifest_revision: int
    merkle_root: str
    reconciled_through: int
    size_bytes: int
    gaps: tuple[Gap, ...]
    manifest_json: str


@dataclass(frozen=True, slots=True)
class OpenFigures:
    """
    What only the writer and the counts know of a partition that takes records.
    """

    limit: Limit
    last_sequence: int = 0
    first_offset: int = 0
    last_offset: int = 0
    distinct_signal_ids: int = 0
    corrupt_count: int = 0
    sealing: bool = False


def describe(disk: Disk, files: PartitionFiles, figures: OpenFigures) -> PartitionInfo:
    """
    Return what a partition's directory says, with *figures* where it is open.
    """
    manifest = files.manifest
    covered = {segment.file: segment for segment in manifest.segments} if manifest is not None else {}
    segments = tuple(_segment(disk, files, file, covered) for file in files.segments.values())
    named = tuple(Gap(**gap) for gap in manifest.gaps) if manifest is not None else ()
    closed = manifest is not None and files.sealed
    last_index = manifest.last_ledger_index if closed and manifest is not None else figures.limit.index
    return PartitionInfo(
        partition=files.name,
        partition_date=date_of(files.name).isoformat(),
        state=_state(disk, files, sealing=figures.sealing),
        is_sealed=files.sealed,
        is_late=is_late(files.name),
        total_records=last_index - skipped_count(files),
        last_index=last_index,
        last_sequence=manifest.last_ledger_sequence if closed and manifest is not None else figures.last_sequence,
        first_offset=manifest.first_offset if manifest is not None else figures.first_offset,
        last_offset=manifest.last_offset if closed and manifest is not None else figures.last_offset,
        distinct_signal_ids=(
            manifest.distinct_signal_ids if closed and manifest is not None else figures.distinct_signal_ids
        ),
        corrupt_count=manifest.corrupt_count if closed and manifest is not None else figures.corrupt_count,
        segments=segments,
        sealed_at=manifest.sealed_at if manifest is not None else "",
        manifest_revision=manifest.manifest_revision if manifest is not None else 0,
        merkle_root=manifest.merkle_root if manifest is not None else "",
        reconciled_through=reconciled_through(disk, files.directory),
        size_bytes=sum(disk.size(f"{files.directory}/{file}") or 0 for file in files.segments.values()),
        gaps=tuple(dict.fromkeys((*named, *files.gaps))),
        manifest_json=disk.read(f"{files.directory}/{MANIFEST}").decode() if manifest is not None else "",
    )


def reconciled_through(disk: Disk, directory: str) -> int:
    """
    Return up to which position the reconciler has proven a partition complete; 0 when never.
    """
    path = f"{directory}/{RECONCILED}"
    return int(json.loads(disk.read(path))["reconciled_through"]) if disk.size(path) is not None else 0


def _segment(disk: Disk, files: PartitionFiles, file: str, covered: dict[str, SealedSegment]) -> SegmentInfo:
    name = file.removesuffix(COMPRESSED)
    sealed = covered.get(name)
    if sealed is not None:
        return SegmentInfo(name, sealed.record_count, sealed.size_bytes, sealed.checksum, sealed.sha256, sealed=True)
    size = disk.size(f"{files.directory}/{file}") or 0
    return SegmentInfo(name, 0, size, "", "", sealed=name != files.segments[files.last_ordinal])


def _state(disk: Disk, files: PartitionFiles, *, sealing: bool) -> PartitionState:
    if is_deleted(disk, files):
        return PartitionState.DELETED
    if not files.sealed:
        return PartitionState.SEALING if sealing else PartitionState.OPEN
    if f"/{ARCHIVE}/" in files.directory:
        return PartitionState.ARCHIVED
    compressed = any(file.endswith(COMPRESSED) for file in files.segments.values())
    return PartitionState.WARM if compressed else PartitionState.SEALED

"""
Closing a partition for good: the manifest, the mark that vouches for it, and finishing what a crash interrupted.

The order is manifest, read-only, `_SEALED`, and each step may be the last before a crash: a manifest without `_SEALED`
is nobody's word, and the next start writes `_SEALED` if the manifest still fits the bytes.
"""

import hashlib
import logging
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zlib import crc32

from .durable import Disk, replace_file, settle_directory
from .entry import Codec
from .errors import PartitionDamaged, PartitionEmpty
from .manifest import (
    MANIFEST_SCHEMA,
    Manifest,
    SealedSegment,
    digest,
    encode_seal,
    read_seal,
    trusted_manifest,
    unfinished_manifest,
)
from .marks import Marks
from .merkle import MerkleTree
from .names import MANIFEST, SEALED, date_of, is_late, manifest_name
from .partition import Gap, PartitionFiles, partition_names, read_partition_files
from .reader import Walk
from .segment import Record, load_segment
from .settings import LedgerSettings

_log = logging.getLogger(__name__)


def seal(
    disk: Disk, root: str, name: str, through_ordinal: int, *, codec: Codec, now: Callable[[], datetime]
) -> Manifest:
    """
    Seal a partition's segments up to *through_ordinal*, which nobody appends to any more, and return the manifest.
    """
    files = read_partition_files(disk, root, name)
    covered = files.segments
    if is_late(name):
        # Arrivals go on meanwhile, in a segment beyond. A day takes none, and an empty one that a failed roll left is
        # sealed with it.
        covered = {ordinal: file for ordinal, file in covered.items() if ordinal <= through_ordinal}
    manifest = _state(disk, root, replace(files, segments=covered), codec, now)
    _vouch(disk, root, files.directory, manifest)
    return manifest


def finish(disk: Disk, root: str, name: str) -> bool:
    """
    Finish a seal that a crash interrupted between manifest and `_SEALED`; tell whether there was one.
    """
    files = read_partition_files(disk, root, name)
    manifest = unfinished_manifest(disk, files.directory)
    if manifest is None:
        return False
    if not is_late(name) and files.last_ordinal > manifest.last_ordinal:
        # That seal was given up while the process lived, and the day has taken more since: the next seal covers it all.
        return False
    for segment in manifest.segments:
        data = (
            load_segment(disk, f"{files.directory}/{segment.file}") if segment.file in files.segments.values() else b""
        )
        if digest(data) != segment.sha256:
            _log.error("The unfinished manifest of %s does not fit %s; the partition stays open", name, segment.file)
            return False
    _vouch(disk, root, files.directory, manifest)
    return True


def is_due(partition: str, written_at: int, now: datetime, settings: LedgerSettings) -> bool:
    """
    Tell whether a partition has been quiet for long enough to be sealed by itself.
    """
    day_end = datetime.combine(date_of(partition), datetime.min.time(), UTC) + timedelta(days=1)
    quiet_since = max(day_end, datetime.fromtimestamp(written_at / 1e9, UTC))
    if is_late(partition):
        return now >= quiet_since + timedelta(days=settings.late_seal_grace_days)
    return now >= quiet_since + timedelta(hours=settings.seal_grace_hours)


def is_day_over(partition: str, now: datetime) -> bool:
    """
    Tell whether the UTC day of a partition lies behind.
    """
    return now.astimezone(UTC).date() > date_of(partition)


def seals(disk: Disk, root: str) -> list[tuple[Manifest, str]]:
    """
    Return the trusted manifests, each with the SHA-256 of its bytes, in the order in which they were sealed.
    """
    found: list[tuple[Manifest, str]] = []
    for name in partition_names(disk, root):
        directory = read_partition_files(disk, root, name).directory
        manifest, named = trusted_manifest(disk, directory), read_seal(disk, directory)
        if manifest is not None and named is not None:
            found.append((manifest, named[1]))
    return sorted(found, key=lambda seal: seal[0].seal_number)


@dataclass(slots=True)
class Tally:
    """
    What a pass over a partition adds up to. A million records cost it ten megabytes.
    """

    tree: MerkleTree = field(default_factory=MerkleTree)
    first_offset: int = 0
    last: Record | None = None
    by_file: dict[str, list[int]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    _ids: list["array[int]"] = field(default_factory=lambda: [array("Q") for _ in range(64)])

    def add(self, record: Record, signal_id: str) -> None:
        """
        Count one record.
        """
        self.tree.add(record.payload)
        position = record.position
        self.first_offset = self.first_offset or position.offset
        self.last = record
        counts = self.by_file.setdefault(record.file, [0, position.index, 0, position.offset, 0])
        counts[0] += 1
        counts[2], counts[4] = position.index, position.offset
        hashed = int.from_bytes(hashlib.blake2b(signal_id.encode(), digest_size=8).digest(), "big")
        self._ids[hashed & 63].append(hashed)

    @property
    def distinct_signal_ids(self) -> int:
        """
        Return how many different signals were counted.
        """
        return sum(len(set(bucket)) for bucket in self._ids)


def tally(walk: Walk, codec: Codec, each: Callable[[Tally], None]) -> Tally:
    """
    Go over a partition once and add it up, calling *each* after every record.
    """
    found = Tally()
    for item in walk:
        if isinstance(item, Gap):
            found.gaps.append(item)
        else:
            found.add(item, codec.signal_id(item.payload))
            each(found)
    return found


def skipped_count(files: PartitionFiles) -> int:
    """
    Return how many of a partition's positions were passed over and never held a record anybody counted.
    """
    return sum(gap.last_index - gap.first_index + 1 for gap in files.gaps if gap.skipped)


def _state(disk: Disk, root: str, files: PartitionFiles, codec: Codec, now: Callable[[], datetime]) -> Manifest:
    earlier = files.manifest

    def extends(found: Tally) -> None:
        if (
            earlier is not None
            and found.tree.size == earlier.valid_records
            and found.tree.root().hex() != earlier.merkle_root
        ):
            raise PartitionDamaged(
                files.name, found.last.file if found.last else "", 0, "The sealed records have changed"
            )

    found = tally(Walk(disk, files, codec, Marks()), codec, extends)
    if found.last is None:
        raise PartitionEmpty(files.name)
    if earlier is not None and found.tree.size < earlier.valid_records:
        raise PartitionDamaged(files.name, found.last.file, found.last.end, "Sealed records are gone")
    last = found.last.position
    last_index = max((last.index, *(gap.last_index for gap in found.gaps)))
    total = last_index - skipped_count(files)
    chain = seals(disk, root)
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        partition_date=date_of(files.name).isoformat(),
        partition=files.name,
        sealed_at=now().astimezone(UTC).isoformat().replace("+00:00", "Z"),
        total_records=total,
        highwater_sequence=total,
        manifest_revision=1 if earlier is None else earlier.manifest_revision + 1,
        is_late_partition=is_late(files.name),
        segments=tuple(_segment(disk, files, file, found) for file in files.segments.values()),
        valid_records=found.tree.size,
        corrupt_count=total - found.tree.size,
        distinct_signal_ids=found.distinct_signal_ids,
        last_ledger_sequence=last.sequence,
        last_ledger_index=last_index,
        first_offset=found.first_offset,
        last_offset=max((last.offset, *(gap.last_offset for gap in found.gaps if gap.skipped))),
        gaps=tuple(asdict(gap) for gap in found.gaps),
        merkle_root=found.tree.root().hex(),
        seal_number=chain[-1][0].seal_number + 1 if chain else 1,
        previous_manifest_sha256=chain[-1][1] if chain else "",
    )


def _segment(disk: Disk, files: PartitionFiles, file: str, found: Tally) -> SealedSegment:
    data = load_segment(disk, f"{files.directory}/{file}")
    count, *span = found.by_file.get(file, [0, 0, 0, 0, 0])
    lost = sum(gap.last_index - gap.first_index + 1 for gap in found.gaps if gap.file == file and not gap.skipped)
    return SealedSegment(
        file.removesuffix(".gz"), count + lost, len(data), f"crc32:{crc32(data):08x}", digest(data), *span
    )


def _vouch(disk: Disk, root: str, directory: str, manifest: Manifest) -> None:
    """
    Write down what was found, then the mark that makes it count.
    """
    data = manifest.encode()
    replace_file(disk, f"{directory}/{manifest_name(manifest.manifest_revision)}", data)
    replace_file(disk, f"{directory}/{MANIFEST}", data)
    for segment in manifest.segments:
        if disk.size(f"{directory}/{segment.file}") is not None:
            disk.protect(f"{directory}/{segment.file}")
    # A crash here leaves a manifest without _SEALED. Nobody trusts it; the next start finishes the seal.
    replace_file(disk, f"{directory}/{SEALED}", encode_seal(manifest.manifest_revision, data))
    settle_directory(disk, root)
    # The root leaves the machine with the log: whoever alters the directory cannot alter that.
    _log.info(
        "Sealed %s, revision %d: %d records, root %s, seal %d",
        manifest.partition,
        manifest.manifest_revision,
        manifest.total_records,
        manifest.merkle_root,
        manifest.seal_number,
    )

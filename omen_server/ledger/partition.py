"""
One partition as its directory shows it: segments, seal and named gaps.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .durable import Disk, replace_file
from .errors import PartitionDamaged
from .manifest import Manifest, trusted_manifest
from .names import ARCHIVE, CURRENT, GAPS, SEALED, TOMBSTONE, is_partition, segment_ordinal
from .segment import segment_files


@dataclass(frozen=True, slots=True)
class Gap:
    """
    Positions of one partition that no record can be read from, and why. Closed ranges, never silent.

    Where the damage hides exactly which offsets it took, the offsets are the widest they can be. `skipped` says that
    the numbers were passed over because nobody could tell how many of them had been given away; `deleted`, that they
    went with their partition past its retention, which is no damage.
    """

    partition: str
    first_index: int
    last_index: int
    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    file: str
    byte_offset: int
    reason: str
    skipped: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class PartitionFiles:
    """
    What a partition's directory holds.

    `manifest` is the newest one that a `_SEALED` vouches for. `sealed` is decided by state and never by permissions: a
    segment beyond the manifest means that the partition was opened again for a further revision.
    """

    name: str
    directory: str
    segments: dict[int, str]
    seal_present: bool
    manifest: Manifest | None
    gaps: tuple[Gap, ...]

    @property
    def sealed(self) -> bool:
        """
        Tell whether the partition takes no record: a seal whose manifest was tampered with still closes it.
        """
        if self.manifest is None:
            return self.seal_present
        return self.last_ordinal <= self.manifest.last_ordinal

    @property
    def last_ordinal(self) -> int:
        """
        Return the ordinal of the newest segment; 0 when there is none.
        """
        return max(self.segments, default=0)


def partition_names(disk: Disk, root: str) -> list[str]:
    """
    Return the names of all partitions, archived ones too, oldest first.
    """
    return sorted({name for name in (*disk.names(root), *disk.names(f"{root}/{ARCHIVE}")) if is_partition(name)})


def read_partition_files(disk: Disk, root: str, name: str) -> PartitionFiles:
    """
    Look at one partition's directory.
    """
    directory = f"{root}/{name}"
    if not disk.names(directory) and disk.names(f"{root}/{ARCHIVE}/{name}"):
        directory = f"{root}/{ARCHIVE}/{name}"
    present = disk.size(f"{directory}/{SEALED}") is not None
    manifest = trusted_manifest(disk, directory) if present else None
    return PartitionFiles(
        name, directory, segment_files(disk, directory), present, manifest, read_gaps(disk, directory)
    )


def is_deleted(disk: Disk, files: PartitionFiles) -> bool:
    """
    Tell whether the segments went, or are going, past their retention. Only the tombstone says so: they may be lost.
    """
    return disk.size(f"{files.directory}/{TOMBSTONE}") is not None


def read_gaps(disk: Disk, directory: str) -> tuple[Gap, ...]:
    """
    Return the gaps that recoveries have named, in order; PartitionDamaged when the list cannot be read.
    """
    if disk.size(f"{directory}/{GAPS}") is None:
        return ()
    try:
        return tuple(Gap(**gap) for gap in json.loads(disk.read(f"{directory}/{GAPS}")))
    except (ValueError, TypeError) as error:
        # Guessing that there are none would give skipped positions away a second time.
        raise PartitionDamaged(directory.rpartition("/")[2], GAPS, 0, f"It cannot be read: {error}") from error


def write_gaps(disk: Disk, directory: str, gaps: Iterable[Gap]) -> None:
    """
    Keep the named gaps. A crash leaves the earlier list or this one.
    """
    replace_file(disk, f"{directory}/{GAPS}", json.dumps([asdict(gap) for gap in gaps], indent=1).encode())


def current_ordinal(disk: Disk, directory: str) -> int:
    """
    Return the ordinal that `_CURRENT` names; 0 when there is none.
    """
    path = f"{directory}/{CURRENT}"
    return 0 if disk.size(path) is None else segment_ordinal(disk.read(path).decode("ascii", "replace").strip()) or 0

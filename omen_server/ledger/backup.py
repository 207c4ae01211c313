"""
A copy of a ledger, taken while it runs: sealed segments and a clean prefix of the open ones.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .durable import Disk, make_directory, replace_file
from .entry import Codec
from .errors import NotALedger
from .identity import is_unused, read_identity, write_identity
from .marks import Marks
from .names import ARCHIVE, BLOCKS, CURRENT, IDENTITY, is_partition, segment_ordinal
from .partition import PartitionFiles, partition_names, read_partition_files
from .reader import Walk
from .segment import Record

_log = logging.getLogger(__name__)

COPIED = "_BACKUP.json"


@dataclass(frozen=True, slots=True)
class Copied:
    """
    What a backup or a restore moved.
    """

    partitions: int
    size_bytes: int
    through_offset: int


def back_up(disk: Disk, root: str, target: str, codec: Codec, *, through_offset: int, now: datetime) -> Copied:
    """
    Copy the ledger at *root* up to *through_offset*, which must be durable, into the unused directory *target*.

    `_BACKUP.json` is written last: a copy without it is not whole, and no restore takes it.
    """
    read_identity(disk, root)
    _begin(disk, target)
    size = 0
    names = partition_names(disk, root)
    for name in names:
        files = read_partition_files(disk, root, name)
        ends = None if files.sealed else _ends(disk, files, codec, through_offset)
        size += _copy_partition(disk, files, root, target, ends)
    size += _copy(disk, f"{root}/{IDENTITY}", f"{target}/{IDENTITY}")
    note = {"copied_at": now.isoformat(), "through_offset": through_offset, "partitions": len(names)}
    replace_file(disk, f"{target}/{COPIED}", json.dumps(note, indent=2).encode() + b"\n")
    _log.info("Backed up %d partitions, %d bytes, through offset %d", len(names), size, through_offset)
    return Copied(len(names), size, through_offset)


def restore(disk: Disk, source: str, target: str, now: Callable[[], datetime]) -> Copied:
    """
    Make the unused directory *target* a ledger from the backup at *source*, in a new epoch.

    Offsets that the lost ledger gave away behind the backup will be given to other records; the new epoch is what tells
    holders of cursors and reconcile states to start over. It is written last, so a crash leaves nothing that opens.
    """
    identity = read_identity(disk, source)
    if disk.size(f"{source}/{COPIED}") is None:
        raise NotALedger(source, f"it has no {COPIED}, so the backup is not whole")
    note = json.loads(disk.read(f"{source}/{COPIED}"))
    _begin(disk, target)
    size = 0
    names = partition_names(disk, source)
    for name in names:
        size += _copy_partition(disk, read_partition_files(disk, source, name), source, target, None)
    write_identity(disk, target, identity.ledger_id, now)
    return Copied(len(names), size, int(note["through_offset"]))


def _begin(disk: Disk, target: str) -> None:
    if not is_unused(disk, target):
        raise NotALedger(target, "a backup or a restore begins in an empty place")
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    make_directory(disk, target)


def _ends(disk: Disk, files: PartitionFiles, codec: Codec, through_offset: int) -> dict[str, int]:
    """
    Return for each segment of an open partition how many of its bytes are certain to be whole and durable.
    """
    ends = dict.fromkeys(files.segments.values(), 0)
    for item in Walk(disk, files, codec, Marks(), open_end=True):
        if isinstance(item, Record):
            if item.position.offset > through_offset:
                break
            ends[item.file] = item.end
    return ends


def _copy_partition(disk: Disk, files: PartitionFiles, root: str, target: str, ends: dict[str, int] | None) -> int:
    """
    Copy one partition's files. The sidecar is left behind: it is rebuilt where it is needed.
    """
    place = target + files.directory.removeprefix(root)
    if f"/{ARCHIVE}/" in files.directory:
        make_directory(disk, f"{target}/{ARCHIVE}")
    make_directory(disk, place)
    size = 0
    for name in disk.names(files.directory):
        if is_partition(name) or name.endswith(".tmp") or name in {BLOCKS, CURRENT}:
            continue
        # A segment that was begun since the ends were taken is behind all of them.
        end = ends.get(name, 0) if ends is not None and segment_ordinal(name) is not None else None
        if end != 0:
            size += _copy(disk, f"{files.directory}/{name}", f"{place}/{name}", end)
    return size


def _copy(disk: Disk, source: str, target: str, size: int | None = None) -> int:
    data = disk.read(source, 0, size)
    replace_file(disk, target, data)
    return len(data)

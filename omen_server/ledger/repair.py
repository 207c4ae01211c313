"""
What the next start would do to a ledger, and doing it without a server.
"""

from dataclasses import dataclass
from pathlib import Path

from .durable import Disk
from .entry import Codec
from .identity import read_identity
from .lock import WriterLock
from .manifest import unfinished_manifest
from .partition import partition_names, read_partition_files
from .recovery import recover
from .settings import LedgerSettings
from .tear import find_tears, scan_tail


@dataclass(frozen=True, slots=True)
class Repair:
    """
    One thing to repair: `cut` a torn tail, `skip` positions behind damage at the end, or `finish` a seal.
    """

    action: str
    partition: str
    file: str
    byte_offset: int
    reason: str


def plan(directory: Path, codec: Codec, disk: Disk | None = None) -> list[Repair]:
    """
    Return what recovery would do, changing nothing. Beside a running writer it may name what is only in flight.
    """
    disk, root = disk or Disk(), str(directory.absolute())
    read_identity(disk, root)
    partitions = [read_partition_files(disk, root, name) for name in partition_names(disk, root)]
    scans = [scan_tail(disk, files, codec) for files in partitions if not files.sealed]
    tears = find_tears(disk, scans, [files for files in partitions if files.sealed], codec)
    found: list[Repair] = []
    for tail, tear in zip(scans, tears, strict=True):
        name = tail.files.name
        if tear is not None:
            found.append(Repair("cut", name, tail.files.segments[tail.ordinal], tear.start, tear.reason))
        elif (hole := tail.trailing) is not None:
            named = any((gap.file, gap.byte_offset) == (hole[0], hole[1].start) for gap in tail.files.gaps)
            if not named:
                found.append(Repair("skip", name, hole[0], hole[1].start, hole[1].reason))
        if unfinished_manifest(disk, tail.files.directory) is not None:
            found.append(Repair("finish", name, "_SEALED", 0, "A manifest is there without its seal"))
    return found


def repair(directory: Path, codec: Codec, settings: LedgerSettings, disk: Disk | None = None) -> list[Repair]:
    """
    Do what `plan` names, under the writer's lock; raises `LedgerLocked` while a server runs.
    """
    disk, root = disk or Disk(), str(directory.absolute())
    read_identity(disk, root)
    lock = WriterLock(disk, root)
    try:
        todo = plan(directory, codec, disk)
        recover(disk, root, settings, codec)
    finally:
        lock.release()
    return todo

"""
Growing old: hot, compressed, archived, and only after the years of retention deleted. Ages count from the seal.

A segment is the hash of its uncompressed bytes, whatever its form: nothing goes before its successor was compared.
"""

import gzip
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .catalogue import reconciled_through
from .durable import Disk, make_directory, move, remove_file, replace_file
from .manifest import Manifest, digest
from .names import ARCHIVE, COMPRESSED, TOMBSTONE
from .partition import PartitionFiles, partition_names, read_partition_files
from .segment import load_segment
from .settings import LedgerSettings

_log = logging.getLogger(__name__)


class Action(StrEnum):
    """
    What the lifecycle does to a partition.
    """

    COMPRESS = "COMPRESS"
    ARCHIVE = "ARCHIVE"
    DELETE = "DELETE"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing done to one partition, or that would be done.
    """

    partition: str
    action: Action
    bytes_before: int
    bytes_after: int
    detail: str


def run(disk: Disk, root: str, settings: LedgerSettings, now: datetime, *, dry_run: bool) -> Iterator[Step]:
    """
    Move every sealed partition to the tier of its age. Again does nothing; a crash leaves the rest for next time.
    """
    for name in partition_names(disk, root):
        files = read_partition_files(disk, root, name)
        manifest = files.manifest
        if manifest is None or not files.sealed:
            continue
        age = now - datetime.fromisoformat(manifest.sealed_at)
        for action, days, step in (
            (Action.COMPRESS, settings.hot_days, _compress),
            (Action.ARCHIVE, settings.warm_days, _archive),
            (Action.DELETE, settings.retention_days, _delete),
        ):
            if age >= timedelta(days=days):
                files = read_partition_files(disk, root, name)
                done = step(disk, root, files, manifest, dry_run)
                if done is not None:
                    _log.info("%s %s: %s%s", action, name, done.detail, " (dry run)" if dry_run else "")
                    yield done


def _size(disk: Disk, files: PartitionFiles) -> int:
    return sum(disk.size(f"{files.directory}/{file}") or 0 for file in files.segments.values())


def _compress(disk: Disk, root: str, files: PartitionFiles, manifest: Manifest, dry_run: bool) -> Step | None:
    """
    Compress what is not compressed yet. A crash leaves both forms of one segment, and the original counts.
    """
    plain = [file for file in files.segments.values() if not file.endswith(COMPRESSED)]
    before = _size(disk, files)
    if not plain:
        return None
    hashes = {segment.file: segment.sha256 for segment in manifest.segments}
    for file in plain:
        path = f"{files.directory}/{file}"
        data = disk.read(path)
        if digest(data) != hashes[file]:
            return Step(files.name, Action.KEEP, before, before, f"{file} is not what was sealed; it stays as it is")
        if dry_run:
            continue
        replace_file(disk, path + COMPRESSED, gzip.compress(data, 6, mtime=0))
        disk.protect(path + COMPRESSED)
        if digest(load_segment(disk, path + COMPRESSED)) != hashes[file]:
            remove_file(disk, path + COMPRESSED)
            return Step(
                files.name, Action.KEEP, before, before, f"{file} did not come out of compression as it went in"
            )
        remove_file(disk, path)
    after = before if dry_run else _size(disk, read_partition_files(disk, root, files.name))
    return Step(files.name, Action.COMPRESS, before, after, f"{len(plain)} segments")


def _archive(disk: Disk, root: str, files: PartitionFiles, manifest: Manifest, dry_run: bool) -> Step | None:
    """
    Move the directory to the archive in one rename; a crash leaves it in one place or the other.
    """
    if f"/{ARCHIVE}/" in files.directory:
        return None
    size = _size(disk, files)
    if not dry_run:
        make_directory(disk, f"{root}/{ARCHIVE}")
        move(disk, files.directory, f"{root}/{ARCHIVE}/{files.name}")
    return Step(files.name, Action.ARCHIVE, size, size, f"sealed at {manifest.sealed_at}")


def _delete(disk: Disk, _root: str, files: PartitionFiles, manifest: Manifest, dry_run: bool) -> Step | None:
    """
    Delete the segments behind a durable tombstone. Manifests and the seal stay: they hold the numbers already used.
    """
    if not files.segments:
        return None
    size = _size(disk, files)
    reconciled = reconciled_through(disk, files.directory)
    if reconciled < manifest.last_ledger_index:
        why = f"past retention, but reconciled only through {reconciled} of {manifest.last_ledger_index}"
        return Step(files.name, Action.KEEP, size, size, why)
    if not dry_run:
        tombstone = {"partition": files.name, "last_offset": manifest.last_offset, "merkle_root": manifest.merkle_root}
        replace_file(disk, f"{files.directory}/{TOMBSTONE}", json.dumps(tombstone).encode())
        for file in files.segments.values():
            remove_file(disk, f"{files.directory}/{file}")
    return Step(files.name, Action.DELETE, size, 0, f"sealed at {manifest.sealed_at}")

"""
What happens between taking the lock and taking records, after a crash or not: recovery is the normal path.

Every step may be the last one before the next crash; running all of them again from the start gives the same ledger.
"""

import json
import logging
from dataclasses import dataclass

from . import seal
from .durable import TEMPORARY, Disk, make_directory, replace_file, settle_directory
from .entry import Codec, sequence_of
from .format import HEADER_BYTES, PARTIAL_HEADER, Damage
from .names import CURRENT, QUARANTINE, is_partition, segment_name
from .partition import (
    Gap,
    PartitionFiles,
    current_ordinal,
    partition_names,
    read_gaps,
    read_partition_files,
    write_gaps,
)
from .settings import LedgerSettings
from .tear import TailScan, find_tears, scan_tail

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PartitionTail:
    """
    Where a partition's next record goes. The writer owns it and moves it only after a sync.

    `ordinal` is the segment that takes records, 0 before there is one; `record` counts its records. A sealed tail takes
    nothing: its day is routed to the late partition, and a late one begins another segment.
    """

    partition: str
    ordinal: int = 0
    size_bytes: int = 0
    record: int = 0
    index: int = 0
    offset: int = 0
    written_at: int = 0
    sealed: bool = False
    fd: int | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    A ledger that is ready to take records: every byte it shows is on the disk.
    """

    tails: dict[str, PartitionTail]
    last_offset: int
    rewritten_bytes: int = 0
    quarantined_bytes: int = 0
    skipped: tuple[Gap, ...] = ()


def recover(disk: Disk, root: str, settings: LedgerSettings, codec: Codec) -> Recovered:
    """
    Bring the ledger at *root* to a state in which everything readable is durable. The caller holds the lock.
    """
    _sweep(disk, root)
    partitions = [read_partition_files(disk, root, name) for name in partition_names(disk, root)]
    closed = [files for files in partitions if files.sealed]
    scans = [scan_tail(disk, files, codec) for files in partitions if not files.sealed]
    quarantined = 0
    for tail, tear in zip(scans, find_tears(disk, scans, closed, codec), strict=True):
        if tear is not None:
            quarantined += len(tail.data) - tear.start
            _quarantine(disk, root, tail, tear)
            tail.cut_at(tear)
        _rewrite(disk, tail)
    # A name that was made before the crash may be visible and not durable; nothing may be pushed from below it. Open
    # partitions were synced by the rewrite, and a seal that a crash takes back is finished again from its manifest.
    settle_directory(disk, root)
    tails = {files.name: _sealed_tail(disk, files, codec) for files in closed}
    last_offset = max(
        (
            *(tail.offset for tail in tails.values()),
            *(tail.last.offset for tail in scans if tail.last is not None),
            *(gap.last_offset for files in partitions for gap in files.gaps if gap.skipped),
            0,
        )
    )
    for tail in scans:
        found, last_offset = _open_tail(disk, tail, last_offset, settings)
        tails[found.partition] = found
    for tail in scans:
        if seal.finish(disk, root, tail.files.name):
            tails[tail.files.name].sealed = read_partition_files(disk, root, tail.files.name).sealed
    skipped = tuple(gap for tail in scans for gap in read_gaps(disk, tail.files.directory) if gap.skipped)
    return Recovered(tails, last_offset, sum(len(tail.data) for tail in scans), quarantined, skipped)


def _sweep(disk: Disk, root: str) -> None:
    """
    Remove temporary files. They were never anybody's word, so nothing is lost when one comes back.
    """
    for directory in (root, *(f"{root}/{name}" for name in disk.names(root) if is_partition(name))):
        for name in disk.names(directory):
            if name.endswith(TEMPORARY):
                disk.unlink(f"{directory}/{name}")


def _quarantine(disk: Disk, root: str, tail: TailScan, tear: Damage) -> None:
    """
    Keep the torn bytes with the reason. A crash behind this leaves a copy of bytes that are cut the next time.
    """
    file = tail.files.segments[tail.ordinal]
    what = "Partial header" if tear.reason == PARTIAL_HEADER else "Partial payload"
    torn = tail.data[tear.start :]
    _log.warning(
        "%s at the end of %s/%s, byte %d: truncating %d bytes that were never acknowledged; they are kept in %s",
        what,
        tail.files.name,
        file,
        tear.start,
        len(torn),
        QUARANTINE,
    )
    make_directory(disk, f"{root}/{QUARANTINE}")
    kept = f"{root}/{QUARANTINE}/{tail.files.name}-{file}-{tear.start}"
    reason = {
        "partition": tail.files.name,
        "file": file,
        "byte_offset": tear.start,
        "reason": f"torn tail: {tear.reason}",
    }
    replace_file(disk, f"{kept}.bytes", torn)
    replace_file(disk, f"{kept}.json", json.dumps(reason).encode())


def _rewrite(disk: Disk, tail: TailScan) -> None:
    """
    Put the tail's bytes into a fresh file.

    After a failed sync the page cache shows bytes that the disk never got, and nobody can remember the failure across a
    restart. What a scan reads may be such bytes; in a fresh file the next sync writes every one of them.
    """
    if tail.ordinal:
        replace_file(disk, f"{tail.files.directory}/{tail.files.segments[tail.ordinal]}", tail.data)


def _sealed_tail(disk: Disk, files: PartitionFiles, codec: Codec) -> PartitionTail:
    if files.manifest is not None:
        ordinal = max(files.last_ordinal, files.manifest.last_ordinal)
        return PartitionTail(
            files.name,
            ordinal,
            index=files.manifest.last_ledger_index,
            offset=files.manifest.last_offset,
            sealed=True,
        )
    # The seal is there and its manifest is not what it vouches for: closed for ever, and for verify to name.
    _log.error("The seal of %s does not fit its manifest; the partition stays closed", files.name)
    last = scan_tail(disk, files, codec).last
    return PartitionTail(
        files.name,
        files.last_ordinal,
        index=last.index if last is not None else 0,
        offset=last.offset if last is not None else 0,
        sealed=True,
    )


def _open_tail(disk: Disk, tail: TailScan, last_offset: int, settings: LedgerSettings) -> tuple[PartitionTail, int]:
    """
    Return where the partition goes on, and the ledger's last offset, moved when positions had to be skipped.
    """
    files = tail.files
    ordinal = max(files.last_ordinal, current_ordinal(disk, files.directory))
    hole = tail.trailing
    if ordinal > files.last_ordinal:
        hole = segment_name(ordinal), Damage(0, 0, "The segment that _CURRENT names is gone")
    gaps = list(files.gaps)
    if hole is not None and not any((gap.file, gap.byte_offset) == (hole[0], hole[1].start) for gap in gaps):
        gap = _skip(tail, hole, ordinal, last_offset, count=_skipped(hole[1], settings))
        _log.error(
            "Damage reaches the end of %s/%s at byte %d: %s; its positions are skipped as a gap",
            files.name,
            gap.file,
            gap.byte_offset,
            gap.reason,
        )
        write_gaps(disk, files.directory, [*gaps, gap])
        gaps.append(gap)
        last_offset = gap.last_offset
    last = tail.last
    index = max((last.index if last is not None else 0, *(gap.last_index for gap in gaps)))
    offset, written_at = (last.offset, last.written_at) if last is not None else (0, 0)
    if hole is not None or ordinal == 0:
        # The damaged segment takes no more; the first append begins the next one.
        full = settings.segment_bytes_max
        return PartitionTail(files.name, ordinal, full, 0, index, offset, written_at), last_offset
    record = last.sequence & 0xFFFFFFFF if last is not None and last.sequence >> 32 == ordinal else 0
    if current_ordinal(disk, files.directory) != ordinal:
        replace_file(disk, f"{files.directory}/{CURRENT}", files.segments[ordinal].encode())
    return PartitionTail(files.name, ordinal, len(tail.data), record, index, offset, written_at), last_offset


def _skipped(damage: Damage, settings: LedgerSettings) -> int:
    """
    Return how many positions to pass over: as many as the damaged bytes can have held, and never fewer than set.
    """
    return ((damage.end - damage.start) // (HEADER_BYTES + 1) // settings.skip_records + 1) * settings.skip_records


def _skip(tail: TailScan, hole: tuple[str, Damage], ordinal: int, last_offset: int, *, count: int) -> Gap:
    """
    Name the positions that damage at the end may have held, so that none of them is ever issued again.
    """
    last = tail.last
    index = max((last.index if last is not None else 0, *(gap.last_index for gap in tail.files.gaps)))
    record = last.sequence & 0xFFFFFFFF if last is not None and last.sequence >> 32 == ordinal else 0
    return Gap(
        tail.files.name,
        index + 1,
        index + count,
        sequence_of(ordinal, record + 1),
        sequence_of(ordinal, record + count),
        last_offset + 1,
        last_offset + count,
        hole[0],
        hole[1].start,
        hole[1].reason,
        skipped=True,
    )

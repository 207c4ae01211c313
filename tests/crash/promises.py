"""
What a ledger has told the outside, and holding a recovered disk against it.
"""

from dataclasses import dataclass, field
from functools import partial

from omen_rpc.position import Position
from omen_server.ledger import audit
from omen_server.ledger.marks import Marks
from omen_server.ledger.names import COMPRESSED, TOMBSTONE, is_late
from omen_server.ledger.partition import Gap, partition_names, read_partition_files
from omen_server.ledger.reader import Walk, merge
from omen_server.ledger.recovery import Recovered
from omen_server.ledger.segment import Record
from tests.crash.images import SECTOR
from tests.crash.records import NOTES
from tests.crash.simulated import SimulatedDisk

ROOT = "/ledger"
LENGTH_BYTES = 4


class Violation(AssertionError):
    """
    A promise that a recovered state does not keep.
    """


@dataclass(slots=True)
class Promises:
    """
    What the outside has been told: records by offset, which partitions are sealed, and what was not appended.

    `tried` is every payload that was ever stamped; nothing else may be read. `expired` partitions may be deleted.
    """

    kept: dict[int, bytes] = field(default_factory=dict)
    sealed: set[str] = field(default_factory=set)
    tried: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)

    def copy(self) -> "Promises":
        """
        Return the promises as of now. What was tried may be shared: more of it excuses nothing that is checked here.
        """
        return Promises(dict(self.kept), set(self.sealed), self.tried, set(self.refused), set(self.expired))


def contents(disk: SimulatedDisk, last_offset: int) -> tuple[dict[int, Record], dict[int, Gap]]:
    """
    Return what the readers inside the server see after a recovery: every record by offset, and every offset in a gap.
    """
    walks = [
        (0, partial(Walk, disk, read_partition_files(disk, ROOT, name), NOTES, Marks()))
        for name in partition_names(disk, ROOT)
    ]
    found: dict[int, Record] = {}
    gaps: dict[int, Gap] = {}
    for item in merge(walks, 0, last_offset):
        if isinstance(item, Record):
            found[item.position.offset] = item
        else:
            if "_CURRENT" in item.reason:
                raise Violation(f"No crash takes away a segment: {item}")
            gaps |= dict.fromkeys(range(item.first_offset, item.last_offset + 1), item)
    if sorted([*found, *gaps]) != list(range(1, last_offset + 1)):
        raise Violation(f"Offsets up to {last_offset} are neither read nor named as gaps")
    return found, gaps


def promise_recovered(disk: SimulatedDisk, recovered: Recovered, promises: Promises) -> bool:
    """
    Hold a recovered disk against the promises, promise all that it shows, and tell whether it has gaps.

    A crash alone hardly ever leaves a gap, mostly where a sector ends inside of a length and a tear looks like a
    flipped bit. Such a gap may cover nothing that was promised, and there may be none without an excuse.
    """
    found, gaps = contents(disk, recovered.last_offset)
    deleted = {name for name in promises.expired if is_deleted(disk, name)}
    _hold_kept(found, gaps, promises, deleted, [span(disk, name) for name in deleted])
    last = _hold_order(found, promises, deleted, gaps=bool(gaps))
    for name, tail in recovered.tails.items():
        if name in deleted:
            manifest = read_partition_files(disk, ROOT, name).manifest
            if tail.index < max(manifest.last_ledger_index if manifest else 0, last[name].index if name in last else 0):
                raise Violation(f"{name} goes on at {tail.index}, its numbers were used further")
        elif tail.index != (last[name].index if name in last else 0) and not gaps:
            raise Violation(f"{name} goes on at {tail.index}, its records end elsewhere")
    for name in recovered.tails:
        _hold_seal(disk, name, promises)
    if lost := promises.sealed - recovered.tails.keys():
        raise Violation(f"{lost} were sealed and are gone")
    return bool(gaps)


def _hold_kept(
    found: dict[int, Record],
    gaps: dict[int, Gap],
    promises: Promises,
    deleted: set[str],
    spans: list[tuple[int, int]],
) -> None:
    """
    Check that what was promised is there, and take from *gaps* what was deleted; of the rest each has its excuse.

    One is the sector's end inside of a length or right behind it. The other: which offsets were a deleted partition's
    nobody can tell between its first and its last, so a tear there may have been anybody's loss. *spans* are those.
    """
    for offset, payload in promises.kept.items():
        if offset in gaps and (position := NOTES.position_of(payload)) and position.partition in deleted:
            del gaps[offset]
        elif offset not in found:
            raise Violation(f"Offset {offset} was promised and is gone")
        elif found[offset].payload != payload:
            raise Violation(f"Offset {offset} was promised with other bytes")
    for gap in set(gaps.values()):
        before = [offset for offset, record in found.items() if record.position.partition == gap.partition]
        after = max((offset for offset in before if offset < gap.first_offset), default=0)
        unknown = any(begin <= after < end for begin, end in spans)
        if gap.byte_offset % SECTOR < SECTOR - LENGTH_BYTES and not unknown:
            raise Violation(f"A crash tore this, it is no corruption: {gap}")


def span(disk: SimulatedDisk, name: str) -> tuple[int, int]:
    """
    Return the first and the last offset that a sealed partition had.
    """
    manifest = read_partition_files(disk, ROOT, name).manifest
    return (manifest.first_offset, manifest.last_offset) if manifest is not None else (0, 0)


def is_deleted(disk: SimulatedDisk, name: str) -> bool:
    """
    Tell whether a tombstone says that a partition's segments may be gone.
    """
    return disk.size(f"{read_partition_files(disk, ROOT, name).directory}/{TOMBSTONE}") is not None


def _hold_order(found: dict[int, Record], promises: Promises, deleted: set[str], *, gaps: bool) -> dict[str, Position]:
    """
    Check that positions rise without holes and hold what was written; return the last one of each partition.
    """
    last: dict[str, Position] = {}
    for offset, record in found.items():
        position = record.position
        before = last.get(position.partition)
        expected = before.index + 1 if before is not None else 1
        holes = gaps or position.partition in deleted
        if position.index < expected or (position.index > expected and not holes):
            raise Violation(f"{position.partition} has position {position.index} at offset {offset}")
        if before is not None and position.sequence <= before.sequence:
            raise Violation(f"{position.partition} has sequence {position.sequence} twice or backwards")
        if record.payload in promises.refused:
            raise Violation(f"Offset {offset} holds a record whose producer was told that it was not appended")
        if record.payload not in promises.tried:
            raise Violation(f"Offset {offset} holds bytes that nobody wrote")
        last[position.partition] = position
        promises.kept[offset] = record.payload
    return last


def _hold_seal(disk: SimulatedDisk, name: str, promises: Promises) -> None:
    files = read_partition_files(disk, ROOT, name)
    if files.manifest is None:
        if files.seal_present or name in promises.sealed:
            raise Violation(f"{name} has a seal without its manifest, or was sealed and is not any more")
        return
    if not files.sealed and not is_late(name):
        raise Violation(f"{name} was sealed and has taken more since")
    verdict = list(audit.verify(disk, ROOT, name, NOTES))[-1]
    if not isinstance(verdict, audit.Verdict):
        raise Violation(f"{name} cannot be verified")
    # Of the sealed bytes only what the seal itself states may be amiss; of what a late partition has taken since, only
    # what a recovery has named: those gaps cover nothing that was promised, or the caller would have missed it.
    stated = {(gap["file"], gap["byte_offset"]) for gap in files.manifest.gaps}
    sealed = {segment.file for segment in files.manifest.segments}
    stated |= {(gap.file, gap.byte_offset) for gap in files.gaps if gap.file.removesuffix(COMPRESSED) not in sealed}
    if verdict.fault_count > len(stated & {(fault.file, fault.byte_offset) for fault in verdict.faults}):
        raise Violation(f"{name} was sealed and does not verify: {verdict}")
    promises.sealed.add(name)

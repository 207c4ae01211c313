"""
Comparing what the ledger has with what RiskCast has: ranges of positions, counts, 128-bit fingerprints. Pure.

A position is missing when RiskCast has no row for it. Beyond that, equal fingerprints prove that nothing is there too
much and that no position holds another signal: a difference is looked for block by block, then position by position.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from omen.v1.position_pb2 import IndexRange
from omen_rpc.position import fold, position_hash
from reconcile.v1 import reconcile_service_pb2 as pb

FINDINGS_MAX = 100


@dataclass(frozen=True, slots=True)
class Sum:
    """
    How many positions, and the XOR of their hashes.
    """

    count: int
    high: int
    low: int

    def without(self, hashes: Sequence[tuple[int, int]]) -> "Sum":
        """
        Return the sum with these positions taken out.
        """
        high, low = fold([(self.high, self.low), *hashes])
        return Sum(self.count - len(hashes), high, low)


@dataclass(frozen=True, slots=True)
class Held:
    """
    Who holds a position: a signal and the digest of its content.
    """

    signal_id: str
    content_digest: str

    def hash_at(self, partition: str, index: int) -> tuple[int, int]:
        """
        Return the hash of this signal at a position.
        """
        return position_hash(partition, index, self.signal_id, self.content_digest)


@dataclass(frozen=True, slots=True)
class Coverage:
    """
    What RiskCast has of a partition up to a position: what is missing, and the sum over the rest.
    """

    missing: tuple[tuple[int, int], ...]
    recoverable: tuple[tuple[int, int], ...]
    held: Sum
    max_index: int
    unpositioned: int
    store_epoch: str
    bytes_compared: int

    @property
    def missing_count(self) -> int:
        """
        How many positions are missing.
        """
        return count_of(self.missing)


def ranges_of(messages: Iterable[IndexRange]) -> tuple[tuple[int, int], ...]:
    """
    Return ranges as pairs.
    """
    return tuple((each.first, each.last) for each in messages)


def clipped(ranges: Iterable[tuple[int, int]], through: int) -> tuple[tuple[int, int], ...]:
    """
    Return the parts of ranges that do not lie behind a position.
    """
    return tuple((first, min(last, through)) for first, last in ranges if first <= through)


def count_of(ranges: Iterable[tuple[int, int]]) -> int:
    """
    Return how many positions ranges hold.
    """
    return sum(last - first + 1 for first, last in ranges)


def positions_of(ranges: Iterable[tuple[int, int]], leaving: frozenset[int] = frozenset()) -> Iterator[int]:
    """
    Yield the positions in ranges, ascending, but for those to be left out.
    """
    for first, last in ranges:
        for index in range(first, last + 1):
            if index not in leaving:
                yield index


def is_proven(ledger: Sum, stored: Sum, excused: Sequence[tuple[int, int]] = ()) -> bool:
    """
    Tell whether RiskCast holds exactly what the ledger has, but for the positions whose hashes are *excused*.
    """
    return ledger.without(excused) == stored


def differences(
    partition: str, ledger: Mapping[int, Held], stored: Mapping[int, Held], gaps: Sequence[tuple[int, int]]
) -> Iterator[pb.Finding]:
    """
    Yield what differs at the same positions. What RiskCast only lacks is no finding: it is missing, and is replayed.
    """
    for index, theirs in sorted(stored.items()):
        ours = ledger.get(index)
        if ours == theirs:
            continue
        finding = pb.Finding(
            partition=partition,
            ledger_index=index,
            stored_signal_id=theirs.signal_id,
            stored_digest=theirs.content_digest,
        )
        if ours is not None:
            finding.kind = pb.FINDING_KIND_MISMATCH
            finding.ledger_signal_id, finding.ledger_digest = ours.signal_id, ours.content_digest
        elif any(first <= index <= last for first, last in gaps):
            finding.kind = pb.FINDING_KIND_RECOVERABLE
        else:
            finding.kind = pb.FINDING_KIND_EXTRA
        yield finding

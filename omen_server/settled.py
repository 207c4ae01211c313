"""
How far the hot path is done: up to where every signal is delivered, refused, or left to the reconciler for good.

The reconciler takes what lies below for missing when RiskCast does not have it. Too low costs it a little time; too
high, and it would replay what is still on its way.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from omen_rpc.position import Position
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How far a ledger was durable at one moment: its offset, and the highest position of each partition.
    """

    offset: int
    indexes: Mapping[str, int]


async def standing(ledger: Ledger) -> Standing:
    """
    Return how far *ledger* is durable. No position in it lies above its offset, whatever the writer does meanwhile.
    """
    while True:
        offset = ledger.durable_offset
        indexes = {name: ledger.durable_index(name) for name in ledger.names()}
        # The writer moves first the written offset, then syncs, then moves positions, last the durable offset. If
        # nothing beyond *offset* is written even now, the positions, which were read before, cannot be beyond it.
        if ledger.written_offset == offset:
            return Standing(offset, indexes)
        await ledger.wait_beyond(offset)


class Frontier:
    """
    How far a row of rising numbers is settled without a hole.
    """

    def __init__(self, through: int) -> None:
        self._taken = through
        self._order: deque[int] = deque()
        self._pending: set[int] = set()

    @property
    def through(self) -> int:
        """
        The highest number at and below which everything is settled.
        """
        return self._order[0] - 1 if self._order else self._taken

    def take(self, number: int) -> None:
        """
        Have *number* hold the frontier back until it is settled. Whatever lies between the last one and it is settled.
        """
        if number <= self._taken:
            raise ValueError(f"{number} after {self._taken}")
        self._taken = number
        self._order.append(number)
        self._pending.add(number)

    def settle(self, number: int) -> None:
        """
        Settle a number that was taken.
        """
        self._pending.discard(number)
        while self._order and self._order[0] not in self._pending:
            self._order.popleft()

    def skip(self, through: int) -> None:
        """
        Settle everything up to *through* that was not taken.
        """
        self._taken = max(self._taken, through)

    def is_pending(self, number: int) -> bool:
        """
        Tell whether a number was taken and is not settled.
        """
        return number in self._pending


class SettledMarks:
    """
    The frontier of the ledger's offsets, and one for the positions of each partition.

    Begins with everything settled that was durable at the start: RiskCast was told of it in an earlier life, or the
    reconciler will find that it was not.
    """

    def __init__(self, begin: Standing) -> None:
        self._offsets = Frontier(begin.offset)
        self._indexes = {name: Frontier(index) for name, index in begin.indexes.items()}

    @property
    def offset(self) -> int:
        """
        The highest offset at and below which everything is settled.
        """
        return self._offsets.through

    def of(self, partition: str) -> tuple[int, int]:
        """
        Return how far a partition is settled (position), and the whole ledger (offset).
        """
        indexes = self._indexes.get(partition)
        return indexes.through if indexes is not None else 0, self.offset

    def take(self, position: Position) -> None:
        """
        Have a signal hold both frontiers back. Signals come in the order of their offsets.
        """
        self._offsets.take(position.offset)
        self._row(position.partition).take(position.index)

    def settle(self, position: Position) -> None:
        """
        Settle a signal that was taken.
        """
        self._offsets.settle(position.offset)
        self._row(position.partition).settle(position.index)

    def skip(self, gap: Gap) -> None:
        """
        Settle what cannot be read. A gap over several partitions names one; the others wait for their next signal.
        """
        self._offsets.skip(gap.last_offset)
        if gap.partition:
            self._row(gap.partition).skip(gap.last_index)

    def is_pending(self, offset: int) -> bool:
        """
        Tell whether the signal at *offset* was taken and is not settled.
        """
        return self._offsets.is_pending(offset)

    def _row(self, partition: str) -> Frontier:
        found = self._indexes.get(partition)
        if found is None:
            found = self._indexes[partition] = Frontier(0)
        return found

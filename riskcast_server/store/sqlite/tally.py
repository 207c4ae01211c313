"""
Counting what is held, what is not, and what is held in the ledger's own gaps, in one pass upwards.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from omen.v1.position_pb2 import IndexRange
from riskcast.v1.inventory_service_pb2 import GetCoverageResponse

Span = tuple[int, int]


class Tally:
    """
    What is known of the positions from *first* up to, and without, `at`.

    It must be told of everything in ascending order. Once there are *ranges_max* ranges, the first that it has no room
    for ends it: it `is_full` there, and what comes after changes nothing any more.
    """

    def __init__(self, first: int, last: int, gaps: Sequence[Span], ranges_max: int) -> None:
        self.at = first
        self.last: Final = last
        self._gaps = gaps
        self._gap_lasts = [gap[1] for gap in gaps]
        self._room = max(1, ranges_max)
        self._full = False
        self._missing: list[Span] = []
        self._recoverable: list[Span] = []
        self._count = 0
        self._h1 = self._h2 = 0

    def held(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """
        Count positions one by one: index and both halves of the hash.
        """
        for index, h1, h2 in rows:
            if index > self.at:
                self.not_held(index - 1)
            if self.is_full():
                return
            if self._in_gap(index):
                self._recover(index)
                if self.is_full():
                    return
            else:
                self._count += 1
                self._h1 ^= h1
                self._h2 ^= h2
            self.at = index + 1

    def held_throughout(self, first: int, last: int, h1: int, h2: int) -> None:
        """
        Count a run of positions that touches none of the ledger's gaps, by its digest.
        """
        if first > self.at:
            self.not_held(first - 1)
        if not self.is_full():
            self._count += last - first + 1
            self._h1 ^= h1
            self._h2 ^= h2
            self.at = last + 1

    def not_held(self, last: int) -> None:
        """
        Note that nothing is held from `at` through *last*.
        """
        while self.at <= last and not self.is_full():
            place = bisect_left(self._gap_lasts, self.at)
            gap_first, gap_last = self._gaps[place] if place < len(self._gaps) else (last + 1, last + 1)
            if gap_first > self.at:
                through = min(last, gap_first - 1)
                if self._take_room():
                    self._missing.append((self.at, through))
                    self.at = through + 1
            else:
                self.at = min(last, gap_last) + 1

    def touches_gap(self, first: int, last: int) -> bool:
        """
        Tell whether any of the ledger's gaps reaches into a range.
        """
        place = bisect_left(self._gap_lasts, first)
        return place < len(self._gaps) and self._gaps[place][0] <= last

    def is_full(self) -> bool:
        """
        Tell whether the next range had no room.
        """
        return self._full

    def answer(self) -> GetCoverageResponse:
        """
        Return what was counted.
        """
        return GetCoverageResponse(
            through_index=self.at - 1 if self.is_full() else self.last,
            count=self._count,
            fingerprint_hi=self._h1 & (2**64 - 1),
            fingerprint_lo=self._h2 & (2**64 - 1),
            missing=[IndexRange(first=first, last=last) for first, last in self._missing],
            recoverable=[IndexRange(first=first, last=last) for first, last in self._recoverable],
            next_index=self.at if self.is_full() else 0,
        )

    def _recover(self, index: int) -> None:
        if self._recoverable and self._recoverable[-1][1] == index - 1:
            self._recoverable[-1] = (self._recoverable[-1][0], index)
        elif self._take_room():
            self._recoverable.append((index, index))

    def _in_gap(self, index: int) -> bool:
        return bool(self._gaps) and self.touches_gap(index, index)

    def _take_room(self) -> bool:
        self._full = self._room == 0
        self._room -= 1
        return not self._full


def merged(ranges: Iterable[IndexRange], first: int, last: int) -> list[Span]:
    """
    Return what *ranges* cover between *first* and *last*, ascending, without overlaps or neighbours.
    """
    spans: list[Span] = []
    for low, high in sorted((max(first, each.first), min(last, each.last)) for each in ranges):
        if low > high:
            continue
        if spans and low <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], high))
        else:
            spans.append((low, high))
    return spans

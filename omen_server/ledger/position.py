"""
Where a record lies, and the border to whoever knows what a payload means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Position:
    """
    A record's place, as its payload states it. `written_at` is in nanoseconds since the epoch.
    """

    partition: str
    sequence: int
    index: int
    offset: int
    durable_offset: int
    written_at: int


class Stampable(Protocol):
    """
    What a producer hands in: a record that lacks only its place.

    `stamp` runs in the writer thread, perhaps more than once, and returns the whole payload for one place. It must be a
    function of the position and of nothing that changes.
    """

    @property
    def emitted_at(self) -> datetime:
        """
        When the record was emitted: its UTC date names the partition.
        """

    def stamp(self, position: Position) -> bytes:
        """
        Return the payload of this record at *position*.
        """


@dataclass(frozen=True, slots=True)
class Codec:
    """
    The three things the ledger must ask about a payload; everything else in it is none of its business.

    `position_of` answers None for bytes that hold no position. `position_hash` is the 128-bit hash, as two halves, that
    fingerprints XOR together. `signal_id` is what distinct records are counted by and proofs are asked by.
    """

    position_of: Callable[[bytes], Position | None]
    position_hash: Callable[[bytes], tuple[int, int]]
    signal_id: Callable[[bytes], str]


def sequence_of(ordinal: int, record: int) -> int:
    """
    Return the `ledger_sequence` of a segment's n-th record; both count from 1.
    """
    return (ordinal << 32) | record

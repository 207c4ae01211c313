"""
The border to whoever knows what a payload means: what a producer hands in, and the questions the ledger asks back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from omen_rpc.position import Position


class Stampable(Protocol):
    """
    A record that lacks only its place.
    """

    def stamp(self, position: Position) -> bytes:
        """
        Return the whole payload for *position*.

        Runs in the writer thread, perhaps more than once, and is a function of the position and nothing that changes.
        """


class Entry(NamedTuple):
    """
    What a producer hands in. `emitted_at` needs its UTC offset: its UTC date names the partition.
    """

    emitted_at: datetime
    record: Stampable


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

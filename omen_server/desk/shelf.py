"""
Witnesses in memory, found by their words and places.

Each has a slot, and every word, place and voice a number whose bits are the slots: sets of thousands are joined and
counted in microseconds.
"""

from collections.abc import Iterable, Iterator
from math import ceil, floor
from typing import Final

from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.snapshot import Peer
from omen_server.pipeline.sphere import DEGREE_KM

BAND_DEGREES: Final = 2.0


class Shelf:
    """
    One peer a source event. A slot that was left is given to the next.
    """

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str], Peer] = {}
        self._peers: list[Peer | None] = []
        self._free: list[int] = []
        self._bits: dict[tuple[str, str | int], int] = {}
        # Slot and time, in the order they were put here.
        self._slots: dict[tuple[str, str], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, peer: Peer, kept_ns: int) -> None:
        """
        Put a peer on the shelf, in the place of an earlier version of the same.
        """
        if peer.key in self._slots:
            self._drop(peer.key)
        if self._free:
            slot = self._free.pop()
            self._peers[slot] = peer
        else:
            slot = len(self._peers)
            self._peers.append(peer)
        self.by_key[peer.key] = peer
        self._slots[peer.key] = slot, kept_ns
        for name in names_of(peer):
            self._bits[name] = self._bits.get(name, 0) | 1 << slot

    def pop_beyond(self, count_max: int, oldest_ns: int) -> Iterator[tuple[str, str]]:
        """
        Take off what was put there first, down to a number of peers and to a time, and yield whose it was.
        """
        while self._slots:
            key, (_, kept_ns) = next(iter(self._slots.items()))
            if len(self._slots) <= count_max and kept_ns >= oldest_ns:
                return
            self._drop(key)
            yield key

    def around(self, me: Peer, near_km: float) -> int:
        """
        Return the slots of all that share a chokepoint with a peer or, by their latitudes, may be that close.
        """
        found = 0
        for chokepoint in me.chokepoints:
            found |= self._bits.get(("chokepoint", chokepoint), 0)
        if me.position:
            bands, middle = ceil(near_km / DEGREE_KM / BAND_DEGREES), band_of(me.position[0])
            for band in range(middle - bands, middle + bands + 1):
                found |= self._bits.get(("band", band), 0)
        return found

    def of_voice(self, voice: str) -> int:
        """
        Return the slots of all that one voice told.
        """
        return self._bits.get(("voice", voice), 0)

    def articles(self) -> int:
        """
        Return the slots of all articles.
        """
        return self._bits.get(("kind", Kind.NEWS.value), 0)

    def counted(self, words: Iterable[str]) -> list[int]:
        """
        Return how many of these words each slot has, as `at_least` reads it.
        """
        return added(self._bits.get(("word", word), 0) for word in words)

    def peers(self, slots: int) -> Iterator[Peer]:
        """
        Yield the peers in these slots.
        """
        text = f"{slots:b}"[::-1]
        at = text.find("1")
        while at >= 0:
            peer = self._peers[at]
            if peer is not None:
                yield peer
            at = text.find("1", at + 1)

    def _drop(self, key: tuple[str, str]) -> None:
        slot, _ = self._slots.pop(key)
        for name in names_of(self.by_key.pop(key)):
            left = self._bits[name] & ~(1 << slot)
            if left:
                self._bits[name] = left
            else:
                del self._bits[name]
        self._peers[slot] = None
        self._free.append(slot)


def names_of(peer: Peer) -> Iterator[tuple[str, str | int]]:
    """
    Yield all that a peer is found by.
    """
    yield from (("word", word) for word in peer.words)
    yield from (("chokepoint", chokepoint) for chokepoint in peer.chokepoints)
    yield "voice", peer.voice
    yield "kind", peer.kind.value
    if peer.position:
        yield "band", band_of(peer.position[0])


def band_of(latitude: float) -> int:
    """
    Return the band of latitude that a place lies in.
    """
    return floor(latitude / BAND_DEGREES)


def added(sets: Iterable[int]) -> list[int]:
    """
    Return how many of the sets each bit is in: the n-th number has the bits whose count has the n-th binary digit.
    """
    digits: list[int] = []
    for each in sets:
        carry = each
        for place, digit in enumerate(digits):
            digits[place], carry = digit ^ carry, digit & carry
        if carry:
            digits.append(carry)
    return digits


def at_least(digits: list[int], least: int) -> int:
    """
    Return the bits whose count is not below *least*, which is 1 or more.
    """
    above, equal = 0, -1
    for place in reversed(range(max(len(digits), least.bit_length()))):
        digit = digits[place] if place < len(digits) else 0
        if least >> place & 1:
            equal &= digit
        else:
            above |= equal & digit
            equal &= ~digit
    return above | equal

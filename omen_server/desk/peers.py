"""
The witnesses of the last days: sources are asked one after another, so what they agree on is seen across calls only.

All of them are in memory, found by word and place; the database behind it is for the next start. What is handed out is
what the rules could make something of, and no more, since the digest of a signal's context is taken over all of it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.desk.reader import Reader
from omen_server.desk.settings import DeskSettings
from omen_server.desk.shelf import Shelf, at_least
from omen_server.desk.writer import Rows, Writer
from omen_server.pipeline.attribute import SECOND_NS, ns_of_moment
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading, read
from omen_server.pipeline.rules.cross_source import is_near
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Peer, witness
from omen_server.pipeline.words import likeness

# How many are handed out for one event: more than make a difference to any rule, few enough to be digested quickly.
EVENT_MAX: Final = 24

_UPSERT: Final = """
INSERT INTO peers (number, source, source_event_id, kept_ns, event) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, source_event_id)
DO UPDATE SET number = excluded.number, kept_ns = excluded.kept_ns, event = excluded.event"""
_DELETE: Final = "DELETE FROM peers WHERE source = ? AND source_event_id = ?"
_DELETE_BEFORE: Final = "DELETE FROM peers WHERE number < ?"
_SELECT: Final = "SELECT number, kept_ns, event FROM peers ORDER BY number DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class Kept:
    """
    One event of the last start, as the rules of today read it.
    """

    number: int
    kept_ns: int
    reading: Reading


async def kept(reader: Reader, rules: Ruleset, settings: DeskSettings) -> list[Kept]:
    """
    Return the events of the last start, oldest first.
    """
    rows = await reader.rows(_SELECT, (settings.peers_max,))

    def readings() -> list[Kept]:
        return [
            Kept(number, kept_ns, read(RawSignalEvent.FromString(event), rules))
            for number, kept_ns, event in reversed(rows)
        ]

    # Reading takes some 100 µs an event.
    return await asyncio.to_thread(readings)


class Peers:
    """
    The newest events that passed, one a source event; at first those of the last start.
    """

    def __init__(self, writer: Writer, rules: Ruleset, settings: DeskSettings, kept: Sequence[Kept] = ()) -> None:
        self._writer = writer
        self._rules = rules
        self._max = settings.peers_max
        self._batch_max = settings.peers_batch_max
        self._age_s_max = max(rules.cross_source.apart_s_max, rules.news.duplicate_s_max)
        self._shelf = Shelf()
        self._number = 0
        self._unwritten: dict[tuple[str, str], tuple[int, int, bytes]] = {}
        self._gone: set[tuple[str, str]] = set()
        # What lies before them is beyond what is kept, as when the setting was lowered.
        self._first = kept[0].number if kept else 0
        for each in kept:
            self._shelf.put(witness(each.reading), each.kept_ns)
            self._number = each.number
        writer.carry(self._take)

    def __len__(self) -> int:
        return len(self._shelf)

    def keep(self, readings: Iterable[Reading], now: datetime) -> None:
        """
        Keep events that passed. Of an event's versions the newest counts; of an article's the first, which decides
        who repeats whom, unless its words have changed.
        """
        now_ns = ns_of_moment(now)
        for reading in readings:
            peer = witness(reading)
            before = self._shelf.by_key.get(peer.key)
            if before is not None and not replaces(peer, before):
                continue
            self._shelf.put(peer, now_ns)
            self._number += 1
            self._unwritten[peer.key] = self._number, now_ns, reading.raw.SerializeToString()
        for key in self._shelf.pop_beyond(self._max, now_ns - self._age_s_max * SECOND_NS):
            self._unwritten.pop(key, None)
            self._gone.add(key)
        if self._unwritten or self._gone:
            self._writer.soon()

    def around(self, batch: Sequence[Reading]) -> list[Peer]:
        """
        Return those that the rules could take for a batch's witnesses or originals, in an order of their own.

        Of too many those stay that matter most: the closest of each voice and domain, then their seconds.
        """
        best: dict[tuple[str, str], tuple[int, float, Peer]] = {}
        for reading in batch:
            for rank, alike, peer in self._of(witness(reading)):
                mine = rank, -alike, peer
                known = best.get(peer.key)
                if known is None or mine[:2] < known[:2]:
                    best[peer.key] = mine
        chosen = sorted(best.values(), key=lambda each: (*each[:2], each[2].order))[: self._batch_max]
        return sorted((peer for _, _, peer in chosen), key=lambda peer: peer.order)

    def _of(self, me: Peer) -> list[tuple[int, float, Peer]]:
        """
        Return who matters most to one event: how many matter more, how alike, and whom.
        """
        told = []
        for peer in self._alike(me):
            alike = likeness(me.words, peer.words)
            is_twin = self._is_twin(me, peer, alike)
            if peer.key != me.key and (is_twin or self._is_witness(me, peer, alike)):
                told.append((is_twin, alike, peer))
        # The first article that this one may repeat is never left out; other twins tell nothing that this one does not.
        originals = [peer for is_twin, _, peer in told if is_twin and peer.order < me.order]
        original = min(originals, key=lambda peer: peer.order, default=None)
        told.sort(key=lambda each: (each[2] is not original, each[0], -each[1], each[2].order))
        voices: Counter[str] = Counter()
        domains: Counter[tuple[str, str]] = Counter()
        ranked = []
        for is_twin, alike, peer in told:
            rank = 1 + domains[peer.voice, peer.domain] if voices[peer.voice] else 0
            ranked.append((rank, is_twin, alike, peer))
            voices[peer.voice] += 1
            domains[peer.voice, peer.domain] += 1
        ranked.sort(key=lambda each: (each[0], each[1], -each[2], each[3].order))
        return [(rank, alike, peer) for rank, _, alike, peer in ranked[:EVENT_MAX]]

    def _alike(self, me: Peer) -> Iterator[Peer]:
        """
        Yield those that share words enough with an event, and a place or, of articles, still more words.
        """
        if not me.words:
            return iter(())
        shelf, witnesses = self._shelf, self._rules.cross_source
        # Whoever is that much alike shares that share of the words.
        shared = shelf.counted(me.words)
        around = shelf.around(me, witnesses.near_km)
        if me.kind is not Kind.NEWS:
            around &= ~shelf.of_voice(me.voice)
        found = around & at_least(shared, enough(me, witnesses.likeness_min))
        if me.kind is Kind.NEWS:
            found |= shelf.articles() & at_least(shared, enough(me, self._rules.news.duplicate_likeness))
        return shelf.peers(found)

    def _is_twin(self, me: Peer, peer: Peer, alike: float) -> bool:
        news = self._rules.news
        apart_ns = abs(peer.observed_ns - me.observed_ns)
        is_news = me.kind is peer.kind is Kind.NEWS
        return is_news and alike >= news.duplicate_likeness and apart_ns <= news.duplicate_s_max * SECOND_NS

    def _is_witness(self, me: Peer, peer: Peer, alike: float) -> bool:
        limits = self._rules.cross_source
        if alike < limits.likeness_min or abs(peer.observed_ns - me.observed_ns) > limits.apart_s_max * SECOND_NS:
            return False
        if peer.voice == me.voice and not (me.kind is peer.kind is Kind.NEWS):
            return False
        if not set(me.chokepoints).isdisjoint(peer.chokepoints):
            return True
        return me.position is not None and is_near(me.position, peer.position, limits.near_km)

    def _take(self) -> Iterator[tuple[str, Rows]]:
        unwritten, self._unwritten = self._unwritten, {}
        gone, self._gone = self._gone, set()
        if self._first:
            yield _DELETE_BEFORE, [(self._first,)]
            self._first = 0
        # First: who is gone may have come again since.
        if gone:
            yield _DELETE, sorted(gone)
        if unwritten:
            yield _UPSERT, [(number, *key, kept_ns, event) for key, (number, kept_ns, event) in unwritten.items()]


def enough(me: Peer, least: float) -> int:
    """
    Return how many words somebody must share with an event to be at least that much alike.
    """
    return max(1, ceil(least * len(me.words) - 1e-9))


def replaces(peer: Peer, before: Peer) -> bool:
    """
    Whether a version of an event takes the place of the one that is known.
    """
    if peer.kind is Kind.NEWS and peer.words == before.words:
        return peer.order < before.order
    return peer.order >= before.order and peer != before

"""
All that the rules are told beside the event: the time, what was seen before, and what others tell.

A batch is judged against one snapshot that holds all of it, so that no event's fate hangs on who came first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256

import orjson

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.attribute import ns_of_moment, text_of
from omen_server.pipeline.history import EMPTY, History, Series
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading, read
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.sphere import Position


@dataclass(frozen=True, slots=True)
class Peer:
    """
    What is left of an event when it is only another's witness.
    """

    source: str
    source_event_id: str
    voice: str
    kind: Kind
    observed_ns: int
    words: frozenset[str]
    chokepoints: tuple[str, ...]
    position: Position | None
    domain: str
    url: str
    licence: str

    @property
    def key(self) -> tuple[str, str]:
        """
        What it is at its source, in whatever version.
        """
        return self.source, self.source_event_id

    @property
    def order(self) -> tuple[int, str, str]:
        """
        What decides which of two equal articles is the first.
        """
        return self.observed_ns, self.source, self.source_event_id


def peer_of(raw: RawSignalEvent, rules: Ruleset) -> Peer:
    """
    Return an event as a witness.
    """
    return witness(read(raw, rules))


def witness(reading: Reading) -> Peer:
    """
    Return an event that has been read as a witness.
    """
    raw, profile = reading.raw, reading.profile
    return Peer(
        source=raw.source,
        source_event_id=raw.source_event_id,
        voice=(profile.voice if profile else "") or raw.source,
        kind=reading.kind,
        observed_ns=reading.observed_ns,
        words=reading.title_words,
        chokepoints=reading.chokepoints,
        position=reading.position,
        domain=text_of(raw, "domain").lower(),
        url=raw.url,
        licence=raw.licence,
    )


@dataclass(frozen=True)
class Snapshot:
    """
    The rules' knowledge. `as_of` is what they take for now; `digest` tells history and peers, whatever their order.
    """

    as_of: datetime
    history: History = field(default_factory=lambda: EMPTY)
    peers: tuple[Peer, ...] = ()

    def __post_init__(self) -> None:
        ns_of_moment(self.as_of)

    @cached_property
    def as_of_ns(self) -> int:
        """
        The time in nanoseconds since 1970.
        """
        return ns_of_moment(self.as_of)

    @cached_property
    def digest(self) -> str:
        """
        ``sha256:`` and the hash of history and peers as canonical JSON. The time is none of it: the signal says it.
        """
        known = {
            "history": {key: _series_written(series) for key, series in self.history.items() if series},
            "peers": [_in_json(written) for written in sorted(_peer_written(peer) for peer in set(self.peers))],
        }
        return "sha256:" + sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @cached_property
    def at_chokepoint(self) -> Mapping[str, Mapping[str, list[Peer]]]:
        """
        The peers by the chokepoints they touch, then by their voices.
        """
        found: dict[str, dict[str, list[Peer]]] = {}
        for peer in self.peers:
            for chokepoint in peer.chokepoints:
                found.setdefault(chokepoint, {}).setdefault(peer.voice, []).append(peer)
        return found

    @cached_property
    def placed(self) -> Mapping[str, list[Peer]]:
        """
        The peers that have a position, by their voices.
        """
        found: dict[str, list[Peer]] = {}
        for peer in self.peers:
            if peer.position:
                found.setdefault(peer.voice, []).append(peer)
        return found

    @cached_property
    def articles(self) -> Mapping[str, list[Peer]]:
        """
        The articles by each word of their titles.
        """
        found: dict[str, list[Peer]] = {}
        for peer in self.peers:
            for word in peer.words if peer.kind is Kind.NEWS else ():
                found.setdefault(word, []).append(peer)
        return found


def of_batch(
    as_of: datetime,
    batch: Iterable[Reading],
    *,
    history: History = EMPTY,
    peers: Iterable[Peer] = (),
) -> Snapshot:
    """
    Return the snapshot a batch is judged by: what was known before, and the batch itself.
    """
    every = {*peers, *map(witness, batch)}
    return Snapshot(as_of, history, tuple(sorted(every, key=lambda peer: (peer.order, _peer_written(peer)))))


def _series_written(series: Series) -> list[list[object]]:
    return [[point.observed_ns, repr(point.probability)] for point in sorted(set(series))]


def _in_json(written: list[object]) -> list[object]:
    """
    Return a row with its long numbers as text: anybody may write any time into an event, and JSON's end at 64 bits.
    """
    return [str(each) if isinstance(each, int) and abs(each) >> 63 else each for each in written]


def _peer_written(peer: Peer) -> list[object]:
    return [
        peer.source,
        peer.source_event_id,
        peer.observed_ns,
        peer.voice,
        peer.kind,
        " ".join(sorted(peer.words)),
        list(peer.chokepoints),
        [repr(degrees) for degrees in peer.position or ()],
        peer.domain,
        peer.url,
        peer.licence,
    ]

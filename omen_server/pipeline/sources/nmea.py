r"""
Ships' positions as a receiver hears them: AIVDM sentences, one a line, each with its checksum.

A message may come in up to nine sentences; it is read when all of them are there, in any order. The messages of types
1, 2, 3 and 18 tell a position. A sentence does not say on what day it was heard: a tag block (`\c:1786875600*5B\`)
does, and otherwise it is when the recording was fetched.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, reduce
from operator import xor

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import from_epoch
from omen_server.pipeline.sources.node import ITEMS_MAX, Node, Unfit, read_lines
from omen_server.pipeline.sources.source import Parsed
from omen_server.pipeline.sources.vessel import vessel_event

NAME = "ais"
LICENCE = "own receiver"
OPEN_MAX = 64

_SENTENCE = re.compile(
    r"(?:\\(?P<tags>[^\\*]{0,80})\*(?P<tags_sum>[0-9A-Fa-f]{2})\\)?"
    r"!(?P<text>(?:AI|AB|BS)VD[MO],(?P<total>[1-9]),(?P<number>[1-9]),(?P<id>\d?),(?P<channel>[AB12]?),"
    r"(?P<payload>[0-W`-w]{0,200}),(?P<fill>[0-5]))\*(?P<sum>[0-9A-Fa-f]{2})",
    re.ASCII,
)
_CLOCK = re.compile(r"(?:^|,)c:(\d{1,13})(?:,|$)", re.ASCII)


@dataclass(slots=True)
class Parts:
    """
    What has come of one message.
    """

    total: int
    place: str
    heard_at: datetime
    payloads: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bits:
    """
    A message's bits, most significant first.
    """

    value: int
    length: int
    place: str

    def unsigned(self, start: int, width: int) -> int:
        """
        Return *width* bits from *start* on.
        """
        if start + width > self.length:
            raise Unfit(self.place, f"has {self.length} bits, too few for its type")
        return self.value >> (self.length - start - width) & ((1 << width) - 1)

    def signed(self, start: int, width: int) -> int:
        """
        Return *width* bits from *start* on as a number that may be negative.
        """
        value = self.unsigned(start, width)
        return value - (1 << width) if value >> (width - 1) else value


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read recorded sentences.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    nodes: list[Node] = []
    waiting: dict[str, Parts] = {}
    for at, row in read_lines(NAME, body):
        try:
            nodes += sentence(harvest, waiting, row.decode("ascii", errors="replace").strip(), f"line {at}")
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
        if len(nodes) == ITEMS_MAX:
            harvest.skip(f"line {at}", f"messages after the first {ITEMS_MAX} are not read")
            break
    for parts in waiting.values():
        harvest.skip(parts.place, f"{len(parts.payloads)} of {parts.total} sentences came")
    harvest.gather(nodes, partial(position, harvest))
    return harvest.parsed()


def sentence(harvest: Harvest, waiting: dict[str, Parts], text: str, place: str) -> list[Node]:
    """
    Take in one sentence, and return the message that it completes, if any.
    """
    found = _SENTENCE.fullmatch(text)
    if found is None:
        raise Unfit(place, "is no AIVDM sentence")
    if checksum(found["text"]) != int(found["sum"], 16):
        raise Unfit(place, f"has the wrong checksum, {checksum(found['text']):02X} would be right")
    if found["tags"] is not None and checksum(found["tags"]) != int(found["tags_sum"], 16):
        raise Unfit(place, "has a tag block with the wrong checksum")
    total, number = int(found["total"]), int(found["number"])
    if number > total or len(found["payload"]) * 6 < int(found["fill"]):
        raise Unfit(place, f"is sentence {number} of {total}, with {found['fill']} bits to fill")
    heard_at = clock(found["tags"] or "", place) or harvest.fetched_at
    key = f"{found['id']}{found['channel']}" if total > 1 else place
    parts = waiting.get(key)
    if parts is None or parts.total != total or number in parts.payloads:
        if parts is not None:
            harvest.skip(parts.place, f"{len(parts.payloads)} of {parts.total} sentences came")
        if len(waiting) >= OPEN_MAX and key not in waiting:
            oldest = waiting.pop(next(iter(waiting)))
            harvest.skip(oldest.place, f"{len(oldest.payloads)} of {oldest.total} sentences came")
        parts = waiting[key] = Parts(total, place, heard_at)
    parts.payloads[number] = bits(found["payload"], int(found["fill"]))
    if len(parts.payloads) < total:
        return []
    del waiting[key]
    joined = "".join(parts.payloads[each] for each in sorted(parts.payloads))
    return [Node((joined, parts.heard_at), parts.place)]


def checksum(text: str) -> int:
    """
    Return the exclusive or of all characters.
    """
    return reduce(xor, text.encode("ascii", errors="replace"), 0)


def clock(tags: str, place: str) -> datetime | None:
    """
    Return when the receiver says it heard the sentence: seconds since 1970, or milliseconds from some of them.
    """
    found = _CLOCK.search(tags)
    if found is None:
        return None
    seconds = int(found[1])
    return Node(tags, place).read(lambda: from_epoch(seconds / 1000 if len(found[1]) > 10 else seconds))


def bits(payload: str, fill: int) -> str:
    """
    Return a payload's bits: six a character, the last *fill* of them filling.
    """
    sixes = (code - 48 if code < 96 else code - 56 for code in payload.encode())
    text = "".join(f"{six:06b}" for six in sixes)
    return text[: len(text) - fill]


def position(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return a position report as an event.
    """
    joined, heard_at = node.value
    if len(joined) < 38:
        raise Unfit(node.place, f"has {len(joined)} bits, too few for any message")
    message = Bits(int(joined, 2), len(joined), node.place)
    kind = message.unsigned(0, 6)
    if kind in {1, 2, 3}:
        known = class_a(message)
    elif kind == 18:
        known = class_b(message)
    else:
        raise Unfit(node.place, f"is a message of type {kind}, no position report")
    known["mmsi"], known["message"] = f"{message.unsigned(8, 30):09d}", f"type {kind}"
    return vessel_event(harvest, Node(known, node.place), heard_at)


def class_a(message: Bits) -> dict[str, float | str]:
    """
    Return what a position report of types 1 to 3 says.
    """
    return {
        "navigation_status": message.unsigned(38, 4),
        "rate_of_turn_code": message.signed(42, 8),
        "speed_kn": message.unsigned(50, 10) / 10,
        "longitude": message.signed(61, 28) / 600_000,
        "latitude": message.signed(89, 27) / 600_000,
        "course_deg": message.unsigned(116, 12) / 10,
        "heading_deg": message.unsigned(128, 9),
        "second": message.unsigned(137, 6),
    }


def class_b(message: Bits) -> dict[str, float | str]:
    """
    Return what a position report of type 18 says, that of smaller ships.
    """
    return {
        "speed_kn": message.unsigned(46, 10) / 10,
        "longitude": message.signed(57, 28) / 600_000,
        "latitude": message.signed(85, 27) / 600_000,
        "course_deg": message.unsigned(112, 12) / 10,
        "heading_deg": message.unsigned(124, 9),
        "second": message.unsigned(133, 6),
    }

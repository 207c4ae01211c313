"""
From items to events: each item on its own, so that a bad one loses none of the others; in the end, one order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.node import ITEMS_MAX, Node, Unfit, without_blanks
from omen_server.pipeline.sources.source import Parsed, Skipped

SKIPPED_MAX = 1_000
SECRETS = ("key", "token", "secret", "password", "appname")
# A token of Polymarket's is the name of an outcome, and public.
PUBLIC = ("token_id",)


@dataclass(slots=True)
class Harvest:
    """
    What one answer of *source* has given so far, and what every event of it has in common.
    """

    source: str
    fetched_at: datetime
    url: str
    licence: str
    provenance: signal_pb2.Provenance.ValueType = signal_pb2.PROVENANCE_REAL
    events: list[RawSignalEvent] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unsaid: int = 0

    def __post_init__(self) -> None:
        if self.fetched_at.tzinfo is None:
            raise ValueError("fetched_at must be aware")
        self.url = public_url(self.url)

    def gather(self, nodes: Sequence[Node], read: Callable[[Node], RawSignalEvent | Iterable[RawSignalEvent]]) -> None:
        """
        Read every item; one that is unfit is skipped with its reason.
        """
        for node in nodes[:ITEMS_MAX]:
            try:
                events = read(node)
                self.events.extend([events] if isinstance(events, RawSignalEvent) else events)
            except Unfit as unfit:
                self.skip(unfit.place, unfit.problem)
        if len(nodes) > ITEMS_MAX:
            self.skip(
                nodes[ITEMS_MAX].place, f"{len(nodes) - ITEMS_MAX} items after the first {ITEMS_MAX} are not read"
            )

    def skip(self, place: str, reason: str) -> None:
        """
        Note an item that becomes no event; after a thousand, only that there are more.
        """
        if len(self.skipped) < SKIPPED_MAX:
            self.skipped.append(Skipped(place, reason))
        else:
            self.unsaid += 1

    def event(
        self,
        source_event_id: str,
        title: str,
        observed_at: datetime,
        *,
        description: str = "",
        url: str = "",
        attributes: Iterable[tuple[str, Any]] = (),
    ) -> RawSignalEvent:
        """
        Return an event of this answer. Attributes that were not said are left out.
        """
        event = RawSignalEvent(
            source=self.source,
            source_event_id=source_event_id,
            title=title,
            description=description,
            provenance=self.provenance,
            url=url or self.url,
            licence=self.licence,
        )
        event.observed_at.FromDatetime(observed_at)
        event.fetched_at.FromDatetime(self.fetched_at)
        said = without_blanks(attributes)
        if said:
            event.attributes.update(said)
        return event

    def parsed(self, next_page: str = "") -> Parsed:
        """
        Return what the answer holds: the newest event of each id, ordered by id, whatever order the items came in.
        """
        newest: dict[str, RawSignalEvent] = {}
        for event in sorted(self.events, key=age):
            if event.source_event_id in newest:
                self.skip(event.source_event_id, "an older state of the same event")
            newest[event.source_event_id] = event
        if self.unsaid:
            self.skipped[-1] = Skipped("", f"{self.unsaid + 1} more were skipped")
        return Parsed(tuple(newest[key] for key in sorted(newest)), tuple(self.skipped), next_page)


def age(event: RawSignalEvent) -> tuple[int, int, bytes]:
    """
    Return what events of one id are ordered by: their time, and where it is the same, something that never varies.
    """
    return event.observed_at.seconds, event.observed_at.nanos, event.SerializeToString(deterministic=True)


def public_url(url: str) -> str:
    """
    Return *url* without user, password and keys: it goes into the ledger.
    """
    try:
        parts = urlsplit(url)
        if "@" not in parts.netloc and not any(word in parts.query.lower() for word in SECRETS):
            return url
        query = [(name, value) for name, value in parse_qsl(parts.query, True) if not is_secret(name)]
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(query), parts.fragment))


def is_secret(name: str) -> bool:
    """
    Whether a query's parameter says who asks.
    """
    return name.lower() not in PUBLIC and any(word in name.lower() for word in SECRETS)

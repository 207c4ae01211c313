"""
A raw event as the rules see it: its words and places found once, for all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.attribute import ns_of, text_of
from omen_server.pipeline.gazetteer import Chokepoint, Port
from omen_server.pipeline.profiles import HAZARDS, Kind, SourceProfile
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.sphere import Position, distance_km, may_be_within
from omen_server.pipeline.words import Found, words_of

NOWHERE: Final[Found] = {}


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What an event says, in the terms of one ruleset. Made by `read`; all lists are sorted and unique.
    """

    raw: RawSignalEvent
    profile: SourceProfile | None
    observed_ns: int
    title_words: frozenset[str]
    title: Found
    description: Found
    position: Position | None
    chokepoints: tuple[str, ...]
    ports: tuple[str, ...]
    nearest_chokepoint: str
    nearest_km: float | None

    @property
    def kind(self) -> Kind:
        """
        What the source tells of.
        """
        return self.profile.kind if self.profile else Kind.OTHER

    def phrases(self, layer: str) -> list[str]:
        """
        Return the phrases of one layer in title and description.
        """
        return sorted({*self.title.get(layer, ()), *self.description.get(layer, ())})

    def meanings(self, layer: str) -> list[str]:
        """
        Return what those phrases mean.
        """
        found = (meanings for text in (self.title, self.description) for meanings in text.get(layer, {}).values())
        return sorted({meaning for meanings in found for meaning in meanings})


def read(raw: RawSignalEvent, rules: Ruleset) -> Reading:
    """
    Read an event. What it says may still be nonsense: that is for the rules to tell.
    """
    profile = profile_of(raw, rules)
    title_words = words_of(raw.title)
    title = rules.lexicon.find(title_words)
    prose = " . ".join(filter(None, (raw.description, raw.location.name, *hazard_words(raw, profile, rules))))
    description = rules.lexicon.find(words_of(prose)) if prose else NOWHERE
    position = position_of(raw)
    nearest = nearest_of(position, rules.places.chokepoints) if position else None
    chokepoints = {
        place for text in (title, description) for found in text.get("chokepoint", {}).values() for place in found
    }
    ports = {port for text in (title, description) for found in text.get("port", {}).values() for port in found}
    if nearest and nearest[1] <= rules.geographic.near_km:
        chokepoints.add(nearest[0].id)
    ports.update(ports_of(raw, position, profile, rules))
    return Reading(
        raw=raw,
        profile=profile,
        observed_ns=ns_of(raw.observed_at),
        title_words=frozenset(title_words),
        title=title,
        description=description,
        position=position,
        chokepoints=tuple(sorted(chokepoints)),
        ports=tuple(sorted(ports)),
        nearest_chokepoint=nearest[0].id if nearest else "",
        nearest_km=nearest[1] if nearest else None,
    )


def profile_of(raw: RawSignalEvent, rules: Ruleset) -> SourceProfile | None:
    """
    Return what is thought of the source. One that tells several kinds of prices is trusted as each of them is.
    """
    profile = rules.sources.get(raw.source)
    if profile is None or profile.kind is not Kind.PRICE:
        return profile
    named = rules.sources.get(text_of(raw, "kind"))
    return named if named and named.kind is Kind.PRICE else profile


def hazard_words(raw: RawSignalEvent, profile: SourceProfile | None, rules: Ruleset) -> Iterable[str]:
    """
    Return what kind of hazard it is, where the source says it beside the text: "M 6.4 - 20 km W of Suez" does not.
    """
    if profile is None or profile.kind not in HAZARDS:
        return ()
    kind = text_of(raw, "event_type")
    return text_of(raw, "event"), text_of(raw, "kind"), rules.terms.hazards.get(kind, kind)


def position_of(raw: RawSignalEvent) -> Position | None:
    """
    Return where it happened. A ship that has no position says 91 and 181 degrees, which is nowhere on Earth.
    """
    place = raw.location
    if not (place.HasField("latitude") and place.HasField("longitude")):
        return None
    if not (-90.0 <= place.latitude <= 90.0 and -180.0 <= place.longitude <= 180.0):
        return None
    return place.latitude, place.longitude


def nearest_of(position: Position, places: Iterable[Chokepoint]) -> tuple[Chokepoint, float]:
    """
    Return the closest place and how far it is. The id decides between equals.
    """
    distance, _, place = min((distance_km(position, place.position), place.id, place) for place in places)
    return place, distance


def ports_of(
    raw: RawSignalEvent, position: Position | None, profile: SourceProfile | None, rules: Ruleset
) -> Iterable[str]:
    """
    Return the port that the event's code names, and for what comes from afar the nearest within reach.
    """
    code = raw.location.locode.upper().replace(" ", "")
    ports = rules.places.ports
    named = [port.locode for port in ports if port.locode == code] if code else []
    if position is None or profile is None or profile.kind not in rules.geographic.near_port_kinds:
        return named
    near = nearest_port(position, ports, rules.geographic.near_km)
    return [*named, near] if near else named


def nearest_port(position: Position, ports: Iterable[Port], limit_km: float) -> str:
    """
    Return the closest port within the limit, or nothing.
    """
    reached = [
        (distance, port.locode)
        for port in ports
        if may_be_within(position, port.position, limit_km)
        and (distance := distance_km(position, port.position)) <= limit_km
    ]
    return min(reached)[1] if reached else ""

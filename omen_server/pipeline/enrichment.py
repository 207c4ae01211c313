"""
Where and what an event touches, and what it rests on. Every list is sorted and free of repeats.
"""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import Evidence, RawSignalEvent, SignalContext, TemporalContext
from omen_rpc.signal_rules import LIST_ITEMS_MAX, NAME_CHARS_MAX
from omen_server.pipeline.attribute import SECOND_NS, field_of, moment_of, ns_of, number_of
from omen_server.pipeline.profiles import DAY_S, Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.cross_source import same_event
from omen_server.pipeline.rules.freshness import age_of, limit_of
from omen_server.pipeline.rules.traffic import change_of
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Peer, Snapshot, witness

EVIDENCE_MAX = 20
CATEGORY = "SIGNAL_CATEGORY_"
YEARS = range(2000, 2100)


def enrich(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> SignalContext:
    """
    Return the event's context.
    """
    context = SignalContext(
        regions=few(regions_of(reading, rules)),
        chokepoints=reading.chokepoints,
        countries=few(countries_of(reading, rules)),
        keywords=few(reading.phrases("keyword")),
        temporal=temporal_of(reading, rules, snapshot),
        nearest_chokepoint=reading.nearest_chokepoint,
        scope=scope_of(reading),
        direction=direction_of(reading, rules),
        flags=few(flags_of(reading)),
    )
    if reading.nearest_km is not None:
        context.nearest_chokepoint_km = round(reading.nearest_km, 1)
    change = field_of(reading.raw.market, "one_day_change")
    if change is not None:
        context.one_day_change = change + 0.0
    return context


def few(names: Iterable[str]) -> list[str]:
    """
    Return names sorted and unique, no more and none longer than a signal may have.
    """
    return sorted({name[:NAME_CHARS_MAX] for name in names})[:LIST_ITEMS_MAX]


def countries_of(reading: Reading, rules: Ruleset) -> set[str]:
    """
    Return the countries that the event, its place and its ports name.
    """
    place = reading.raw.location
    said = {place.country.upper(), place.locode[:2].upper(), *(port[:2] for port in reading.ports)}
    return {*reading.meanings("country"), *(said & rules.region_of.keys())}


def regions_of(reading: Reading, rules: Ruleset) -> set[str]:
    """
    Return the regions of its chokepoints and countries.
    """
    regions = {rules.region_of[code] for code in countries_of(reading, rules)}
    for place in rules.places.chokepoints:
        if place.id in reading.chokepoints:
            regions.update(place.regions)
    return regions


def scope_of(reading: Reading) -> str:
    """
    Return how far it reaches: one place, several, or none in particular.
    """
    match len(reading.chokepoints) + len(reading.ports):
        case 0:
            return "GLOBAL"
        case 1:
            return "LOCAL"
        case _:
            return "REGIONAL"


def temporal_of(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> TemporalContext:
    """
    Return how the event lies in time.
    """
    temporal = TemporalContext(freshness=freshness_of(reading, rules, snapshot))
    resolution = resolution_of(reading.raw)
    if resolution is not None:
        temporal.resolution_date.CopyFrom(resolution)
        days = (ns_of(resolution) - reading.observed_ns) // (DAY_S * SECOND_NS)
        temporal.horizon_days = days
    return temporal


def resolution_of(raw: RawSignalEvent) -> Timestamp | None:
    """
    Return when the matter is decided: at the market's end, or at the alert's.
    """
    if raw.market.HasField("end_at"):
        return raw.market.end_at
    return moment_of(raw, "ends") or moment_of(raw, "expires")


def freshness_of(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> str:
    """
    Return how much of its time an event has spent, as a word.
    """
    age_s, limit_s = age_of(reading, snapshot), limit_of(reading) or 0.0
    if age_s <= limit_s * rules.freshness.current_share:
        return "current"
    return "recent" if age_s <= limit_s * rules.freshness.recent_share else "stale"


def direction_of(reading: Reading, rules: Ruleset) -> str:
    """
    Return which way it moves; nothing where nobody says. A hint, no more.
    """
    change = movement_of(reading)
    if change is None:
        return ""
    if abs(change) < rules.classes.flat_change:
        return "FLAT"
    return "UP" if change > 0 else "DOWN"


def movement_of(reading: Reading) -> float | None:
    """
    Return the movement as a share: of a market within a day, of a price since the last, of traffic since it was usual.
    """
    match reading.kind:
        case Kind.MARKET:
            return field_of(reading.raw.market, "one_day_change")
        case Kind.PRICE | Kind.FREIGHT:
            change = number_of(reading.raw, "change_pct")
        case Kind.TRANSITS:
            change = change_of(reading)
        case _:
            return None
    # NaN says nothing; infinity would say which way, but a price that came from nothing says nothing either.
    return change / 100 if change is not None and abs(change) < float("inf") else None


def flags_of(reading: Reading) -> list[str]:
    """
    Return what does not fit together, in words.
    """
    market = reading.raw.market
    years = sorted(word for word in reading.title_words if word.isascii() and word.isdigit() and int(word[:9]) in YEARS)
    if not years or not market.HasField("end_at"):
        return []
    end = market.end_at.ToDatetime().year
    return [] if str(end) in years else [f"the title says {', '.join(years)}, the market ends in {end}"]


def evidence_of(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> list[Evidence]:
    """
    Return what the signal rests on: the event itself, and the other sources that tell of it.
    """
    raw, me = reading.raw, witness(reading)
    own = Evidence(
        source=raw.source,
        type=reading.kind.value,
        url=raw.url,
        observed_at=raw.observed_at,
        licence=raw.licence,
        provenance=raw.provenance,
    )
    if raw.HasField("fetched_at"):
        own.fetched_at.CopyFrom(raw.fetched_at)
    others = same_event(me, rules, snapshot)[: EVIDENCE_MAX - 1]
    every = {each.SerializeToString(deterministic=True): each for each in (own, *map(evidence_from, others))}
    return [every[key] for key in sorted(every)]


def evidence_from(peer: Peer) -> Evidence:
    """
    Return another source's event as evidence.
    """
    evidence = Evidence(source=peer.source, type=peer.kind.value, url=peer.url, licence=peer.licence)
    evidence.observed_at.seconds, evidence.observed_at.nanos = divmod(peer.observed_ns, SECOND_NS)
    return evidence


def routing_hints(context: SignalContext, category: str) -> list[str]:
    """
    Return names of topics that may want the signal.
    """
    names = [f"category.{category.removeprefix(CATEGORY).lower()}", f"scope.{context.scope.lower()}"]
    return few([*names, *(f"chokepoint.{name}" for name in context.chokepoints)])

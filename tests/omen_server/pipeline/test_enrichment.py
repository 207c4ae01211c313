from datetime import UTC, datetime, timedelta

import pytest

from omen.v1.signal_pb2 import Location, RawSignalEvent, SignalContext
from omen_server.pipeline.enrichment import EVIDENCE_MAX, enrich, evidence_of, routing_hints
from omen_server.pipeline.reading import read
from omen_server.pipeline.snapshot import Snapshot, peer_of
from tests.omen_server.pipeline.raw_events import (
    NOTHING_KNOWN,
    NOW,
    RULES,
    alert,
    article,
    event,
    market,
    price,
    quake,
    report,
    transits,
)


def context(raw: RawSignalEvent, snapshot: Snapshot = NOTHING_KNOWN) -> SignalContext:
    """
    Return an event's context.
    """
    return enrich(read(raw, RULES), RULES, snapshot)


def test_lists_are_sorted_and_unique() -> None:
    """
    Every list of a context is sorted and holds nothing twice.
    """
    found = context(
        market(
            "War: Suez, Red Sea, Suez; Turkey, Egypt and Egypt", description="War in Turkey, strike, Hormuz, oil, canal"
        )
    )
    for name in ("regions", "chokepoints", "countries", "keywords", "flags"):
        values = list(getattr(found, name))
        assert values == sorted(set(values)), name
    assert list(found.chokepoints) == ["red_sea", "strait_of_hormuz", "suez_canal"]
    assert list(found.countries) == ["EG", "TR"]
    assert list(found.keywords) == ["canal", "oil", "strike", "war"]
    assert list(found.regions) == ["East Africa", "Middle East", "North Africa", "Persian Gulf"]


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        ("Strike in the United States and the U.S. ports", ["US"]),
        ("It tells us nothing", []),
        ("New Jersey and the Gulf of Mexico", []),
        ("Papua New Guinea and Guinea-Bissau", ["GW", "PG"]),
        ("Niger and Nigeria", ["NE", "NG"]),
        ("South Korea, not North Korea", ["KP", "KR"]),
        ("Michael Jordan", []),
        ("The Indian Ocean", []),
        ("Türkiye", ["TR"]),
        ("Oman and the Gulf of Oman", ["OM"]),
        ("Romania", ["RO"]),
    ],
)
def test_countries(title: str, codes: list[str]) -> None:
    """
    Countries are found by their names, and not inside others.
    """
    assert list(context(report(title)).countries) == codes


@pytest.mark.parametrize(
    ("place", "codes"),
    [
        (Location(country="eg"), ["EG"]),
        (Location(country="XX"), []),
        (Location(locode="NLRTM"), ["NL"]),
        (Location(locode="DEXYZ"), ["DE"]),
    ],
)
def test_countries_of_the_place(place: Location, codes: list[str]) -> None:
    """
    The place's own code counts where ISO 3166 has it.
    """
    assert list(context(report("Strike", location=place)).countries) == codes


@pytest.mark.parametrize(
    ("title", "scope"), [("Strike", "GLOBAL"), ("Suez strike", "LOCAL"), ("Suez and Rotterdam strike", "REGIONAL")]
)
def test_scope(title: str, scope: str) -> None:
    """
    No place is global, one local, several regional.
    """
    assert context(report(title)).scope == scope


def test_nearest() -> None:
    """
    The nearest chokepoint is told in tenths of a kilometre, and not made up without a position.
    """
    found = context(quake())
    assert (found.nearest_chokepoint, found.nearest_chokepoint_km) == ("suez_canal", 55.6)
    assert not context(report()).HasField("nearest_chokepoint_km")


@pytest.mark.parametrize(
    ("age_s", "freshness"),
    [(0, "current"), (75, "current"), (75.2, "recent"), (225, "recent"), (225.2, "stale"), (300, "stale")],
)
def test_freshness(age_s: float, freshness: str) -> None:
    """
    A quarter of its time an event is current, and up to three quarters recent.
    """
    assert context(market(age_s=age_s)).temporal.freshness == freshness


@pytest.mark.parametrize(
    ("end", "days"),
    [
        (NOW, 0),
        (NOW + timedelta(hours=23, minutes=59), 0),
        (NOW + timedelta(days=1), 1),
        (NOW + timedelta(days=153, hours=1), 153),
        (NOW - timedelta(seconds=1), -1),
    ],
)
def test_horizon(end: datetime, days: int) -> None:
    """
    The horizon counts whole days from the observation to the market's end.
    """
    temporal = context(market(figures={"end_at": end})).temporal
    assert temporal.resolution_date.ToDatetime(UTC) == end
    assert temporal.horizon_days == days


def test_horizon_of_an_alert() -> None:
    """
    An alert is decided when it ends, else when it expires; a market without an end has no horizon.
    """
    assert context(alert()).temporal.resolution_date.ToDatetime(UTC) == NOW + timedelta(hours=2)
    ends = context(alert(ends="2026-01-30T10:00:00Z"))
    assert ends.temporal.horizon_days == 2
    temporal = context(market(figures={"end_at": None})).temporal
    assert not temporal.HasField("horizon_days")
    assert not temporal.HasField("resolution_date")


@pytest.mark.parametrize(
    ("raw", "direction"),
    [
        (market(figures={"one_day_change": 0.01}), "UP"),
        (market(figures={"one_day_change": 0.0099}), "FLAT"),
        (market(figures={"one_day_change": -0.01}), "DOWN"),
        (market(figures={"one_day_change": None}), ""),
        (price(change_pct=12.0), "UP"),
        (price(change_pct=-1.0), "DOWN"),
        (price(change_pct=0.5), "FLAT"),
        (price(change_pct=float("nan")), ""),
        (price(change_pct=float("inf")), ""),
        (transits(), "DOWN"),
        (article(), ""),
    ],
)
def test_direction(raw: RawSignalEvent, direction: str) -> None:
    """
    The direction is that of what is measured, flat below one hundredth.
    """
    assert context(raw).direction == direction


def test_one_day_change() -> None:
    """
    A market's movement is passed on, zero included, and not made up.
    """
    assert context(market(figures={"one_day_change": 0.0})).one_day_change == 0.0
    assert context(market(figures={"one_day_change": 0.0})).HasField("one_day_change")
    assert not context(market(figures={"one_day_change": None})).HasField("one_day_change")


@pytest.mark.parametrize(
    ("title", "flags"),
    [
        ("Suez closed in 2026?", []),
        ("Suez closed?", []),
        ("Suez closed in 2025 or 2026?", []),
        ("Suez closed in 2027?", ["the title says 2027, the market ends in 2026"]),
        ("Section 301 and 1999 ships", []),
    ],
)
def test_years(title: str, flags: list[str]) -> None:
    """
    A title's year that is not that of the market's end is flagged.
    """
    assert list(context(market(title)).flags) == flags


def test_own_evidence() -> None:
    """
    A signal rests on its own event first of all, with where, when and on what terms.
    """
    raw = market()
    raw.fetched_at.FromDatetime(NOW)
    (own,) = evidence_of(read(raw, RULES), RULES, NOTHING_KNOWN)
    assert (own.source, own.type, own.url, own.licence) == ("polymarket", "market", raw.url, "made for tests")
    assert own.provenance == raw.provenance
    assert own.observed_at == raw.observed_at
    assert own.fetched_at == raw.fetched_at


def test_evidence_of_others() -> None:
    """
    Who else tells of the event is evidence, too: sorted, each once, and not without end.
    """
    title = "Suez Canal closed"
    peers = [article(title, f"article-{at}", age_s=at) for at in range(30)]
    snapshot = Snapshot(NOW, peers=tuple(peer_of(raw, RULES) for raw in [*peers, *peers, market(title)]))
    found = evidence_of(read(market(title), RULES), RULES, snapshot)
    keys = [each.SerializeToString(deterministic=True) for each in found]
    assert keys == sorted(set(keys))
    assert len(found) == EVIDENCE_MAX
    assert {each.source for each in found} == {"gdelt", "polymarket"}
    assert {each.type for each in found} == {"article", "market"}


@pytest.mark.parametrize(("raw", "kind"), [(quake(), "quake"), (alert(), "alert"), (event("ais", "x"), "vessels")])
def test_evidence_type(raw: RawSignalEvent, kind: str) -> None:
    """
    The type says what kind of thing it is.
    """
    assert [each.type for each in evidence_of(read(raw, RULES), RULES, NOTHING_KNOWN)] == [kind]


def test_routing_hints() -> None:
    """
    Hints name the category, the scope and the chokepoints.
    """
    found = routing_hints(context(report("Suez and Hormuz")), "SIGNAL_CATEGORY_GEOPOLITICAL")
    assert found == ["category.geopolitical", "chokepoint.strait_of_hormuz", "chokepoint.suez_canal", "scope.regional"]


def test_long_texts() -> None:
    """
    No text makes more names than a signal may have.
    """
    words = " . ".join(phrase for phrases in RULES.terms.keywords.values() for phrase in phrases)
    found = context(report("Suez", description=words))
    assert len(found.keywords) == 100
    assert list(found.keywords) == sorted(found.keywords)

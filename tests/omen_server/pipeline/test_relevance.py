from math import degrees
from typing import Any

import pytest

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.reading import read
from omen_server.pipeline.rules.semantic import score_of
from omen_server.pipeline.sphere import RADIUS_KM
from tests.omen_server.pipeline.raw_events import (
    NOT_APPLICABLE,
    PASSED,
    REJECTED,
    RULES,
    alert,
    article,
    event,
    market,
    price,
    quake,
    report,
    verdict,
)


@pytest.mark.parametrize(
    ("title", "groups", "matches", "score"),
    [
        ("Nothing of that kind", 0, 0, 0.0),
        ("A strike", 1, 1, 0.3),
        ("Strike and lockout", 1, 2, 0.4),
        ("Strike, strike, strike", 1, 1, 0.3),
        ("A strike at the port", 2, 2, 0.6),
        ("War, sanctions, strike, canal, storm", 5, 5, 1.0),
        ("War, sanctions, strike, canal, storm, tariffs, oil", 7, 7, 1.0),
        ("Crude oil", 1, 1, 0.3),
    ],
)
def test_semantic_score(title: str, groups: int, matches: int, score: float) -> None:
    """
    Each group is worth two tenths and each phrase one, up to 1; repeating a word is worth nothing.
    """
    answer = verdict("semantic", report(title))
    assert (answer.parameters["groups"], answer.parameters["matches"], answer.score) == (groups, matches, score)
    assert answer.status == (PASSED if score >= 0.3 else REJECTED)


def test_seven_groups() -> None:
    """
    There are seven groups of keywords.
    """
    assert sorted(RULES.terms.keywords) == [
        "climate", "conflict", "energy_freight", "infrastructure", "labor", "regulatory", "sanctions",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("title", "status"),
    [
        ("Europe port strike", PASSED),
        ("Euro 2028: a strike at the port", REJECTED),
        ("The euro falls, and ports close", PASSED),
        ("World Cup host port strike", REJECTED),
        ("World Cup: Suez Canal closure", PASSED),
        ("The world drinks a cup at the port strike", PASSED),
        ("Sport", REJECTED),
        ("Sports and ports", REJECTED),
        ("Transport support report", REJECTED),
        ("The striker of the year", REJECTED),
        ("Port Said football club strike", REJECTED),
        ("Hunger strike", REJECTED),
        ("Strike price", REJECTED),
        ("Star Wars", REJECTED),
        ("European Union", REJECTED),
        ("Panama Papers movie strike", REJECTED),
    ],
)
def test_off_topic(title: str, status: int) -> None:
    """
    Only a whole phrase is off the topic, and only where no chokepoint is named.
    """
    assert verdict("semantic", report(title)).status == status


def test_off_topic_is_named() -> None:
    """
    The reason and the matches say which phrase it was.
    """
    answer = verdict("semantic", report("Euro 2028 winner"))
    assert "euro 2028" in answer.reason
    assert list(answer.matches) == ["euro 2028"]


def test_keywords_of_the_description_count() -> None:
    """
    The description counts as the title does, and what both say counts once.
    """
    assert score_of(read(report("Strike", description="A strike at the port"), RULES), RULES) == 0.6


@pytest.mark.parametrize("raw", [quake(), alert("Statement", event="Flood Warning")])
def test_a_hazard_names_its_kind(raw: RawSignalEvent) -> None:
    """
    What the source says beside the text is read, too: a quake's title does not say that it is one.
    """
    assert verdict("semantic", raw).status == PASSED


@pytest.mark.parametrize("code", ["EQ", "TC", "FL", "DR", "WF", "VO", "TS"])
def test_disaster_codes(code: str) -> None:
    """
    Each kind of disaster of GDACS has a word.
    """
    assert verdict("semantic", event("gdacs", "Event 1", attributes={"event_type": code})).status == PASSED


SOUTH_OF_CAPE = -34.36, 18.47


@pytest.mark.parametrize(("km", "status"), [(0.0, PASSED), (499.9, PASSED), (500.0, PASSED), (500.1, REJECTED)])
def test_near(km: float, status: int) -> None:
    """
    500 km from a chokepoint is near, and 500.1 is not.
    """
    latitude = SOUTH_OF_CAPE[0] - degrees(km / RADIUS_KM)
    answer = verdict("geographic", report("Strike", location=Location(latitude=latitude, longitude=SOUTH_OF_CAPE[1])))
    assert answer.status == status
    assert answer.parameters["nearest_km"] == pytest.approx(km, abs=0.001)


@pytest.mark.parametrize(
    ("title", "places", "score"),
    [
        ("Suez Canal closed", 1, 0.7),
        ("Red Sea and Suez Canal closed", 2, 1.0),
        ("Red Sea, Suez, Hormuz and Malacca closed", 4, 1.0),
        ("Suez, Suez Canal", 1, 0.7),
        ("Rotterdam closed", 1, 0.7),
        ("Port of Singapore closed", 2, 1.0),
    ],
)
def test_places(title: str, places: int, score: float) -> None:
    """
    Each place is worth three tenths on top of four; a place named twice is one.
    """
    answer = verdict("geographic", report(title))
    assert (answer.status, answer.parameters["places"], answer.score) == (PASSED, places, score)


@pytest.mark.parametrize(
    ("raw", "status", "score"),
    [
        (market("Port closure"), REJECTED, 0.1),
        (market("Port strike"), PASSED, 0.1),
        (market("Port strike: ships, tankers, freight, cargo"), PASSED, 0.3),
        (market("Oil war, tariffs"), REJECTED, 0.0),
        (article("Port strike"), REJECTED, 0.1),
        (report("Port strike"), REJECTED, 0.1),
        (report("Strike and war"), REJECTED, 0.0),
        (alert("Port flood"), REJECTED, 0.1),
    ],
)
def test_general_words(raw: RawSignalEvent, status: int, score: float) -> None:
    """
    General words of logistics place nothing: news is refused, a market passes when it is enough about trade.
    """
    answer = verdict("geographic", raw)
    assert answer.status == status
    assert answer.score == pytest.approx(score)


@pytest.mark.parametrize(
    ("title", "score", "status"), [("Closure of ports", 0.4, REJECTED), ("Union closes ports", 0.6, PASSED)]
)
def test_general_words_of_a_market(title: str, score: float, status: int) -> None:
    """
    A semantic score below one half is not enough.
    """
    raw = market(title)
    assert score_of(read(raw, RULES), RULES) == score
    assert verdict("geographic", raw).status == status


def test_exactly_one_half_is_enough() -> None:
    """
    One half is enough about trade.
    """
    raw = market("Closure: ports, congestion")
    assert score_of(read(raw, RULES), RULES) == 0.5
    assert verdict("geographic", raw).status == PASSED


def test_a_price_has_no_place() -> None:
    """
    Of a price the rule says nothing, unless it names a place.
    """
    assert verdict("geographic", price()).status == NOT_APPLICABLE
    assert verdict("geographic", event("freight", "Freight index FBX01 Shanghai port")).status == PASSED


@pytest.mark.parametrize("place", [{"country": "TW"}, {"country": "CN", "name": "Gulf of Mexico"}])
def test_a_country_is_no_chokepoint(place: dict[str, Any]) -> None:
    """
    China is not the Taiwan Strait, and no gulf is Hormuz by itself.
    """
    assert verdict("geographic", report("Strike in China at the gulf", location=Location(**place))).status == REJECTED

from dataclasses import replace
from itertools import permutations
from math import degrees

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.estimate import estimate
from omen_server.pipeline.reading import read
from omen_server.pipeline.rules.cross_source import boost_of
from omen_server.pipeline.snapshot import Snapshot, of_batch, peer_of
from omen_server.pipeline.sphere import RADIUS_KM
from tests.omen_server.pipeline.raw_events import NOT_APPLICABLE, NOW, PASSED, RULES, article, event, market, verdict

HOUR = 3_600
TITLE = "Suez one two three four five six seven eight nine"


def among(*peers: RawSignalEvent) -> Snapshot:
    """
    Return a snapshot that knows these events.
    """
    return Snapshot(NOW, peers=tuple(peer_of(peer, RULES) for peer in peers))


def boost(raw: RawSignalEvent, *peers: RawSignalEvent) -> float:
    """
    Return what the others add.
    """
    answer = verdict("cross_source", raw, among(*peers))
    assert answer.status in {PASSED, NOT_APPLICABLE}
    return dict(answer.parameters).get("boost", 0.0)


@pytest.mark.parametrize(
    ("sources", "likeness", "worth"),
    [
        (1, 1.0, 0.0),
        (2, 0.3, 0.15),
        (2, 0.5999, 0.15),
        (2, 0.6, 0.20),
        (3, 0.3, 0.25),
        (3, 0.6, 0.30),
        (9, 1.0, 0.30),
    ],
)
def test_worth(sources: int, likeness: float, worth: float) -> None:
    """
    Two sources are worth 0.15, three or more 0.25, and the same words 0.05 more.
    """
    assert boost_of(sources, likeness, RULES) == worth


def test_worth_is_capped() -> None:
    """
    No number of sources adds more than 0.35.
    """
    generous = replace(RULES, cross_source=replace(RULES.cross_source, boost_three=0.9))
    assert boost_of(3, 1.0, generous) == 0.35


@pytest.mark.parametrize(
    ("title", "worth"),
    [
        # 3 of 10 words shared: exactly 0.30.
        ("Suez one two", 0.15),
        ("Suez one two x", 0.0),
        # 6 of 10.
        ("Suez one two three four five", 0.20),
        ("Suez one two three four five x", 0.15),
        ("Hormuz one two three four five six", 0.0),
    ],
)
def test_words_and_chokepoint(title: str, worth: float) -> None:
    """
    Three words in ten must be shared, and the place.
    """
    assert boost(market(TITLE), article(title)) == worth


@pytest.mark.parametrize(("apart_s", "worth"), [(0, 0.2), (72 * HOUR, 0.2), (72 * HOUR + 1, 0.0)])
def test_days(apart_s: int, worth: float) -> None:
    """
    What lies more than 72 hours apart is another event, in either direction.
    """
    assert boost(market(TITLE), article(TITLE, age_s=apart_s)) == worth
    assert boost(market(TITLE, age_s=apart_s), article(TITLE)) == worth


@pytest.mark.parametrize(("km", "worth"), [(0.0, 0.2), (199.9, 0.2), (200.0, 0.2), (200.1, 0.0)])
def test_near(km: float, worth: float) -> None:
    """
    200 km apart is the same place, far from any chokepoint.
    """
    north = degrees(km / RADIUS_KM)
    here = event("unknown", "Strike", location=Location(latitude=-80.0, longitude=0.0))
    there = event("ais", "Strike", location=Location(latitude=-80.0 + north, longitude=0.0))
    assert boost(here, there) == worth
    assert boost(there, here) == worth


def test_same_source_is_no_witness() -> None:
    """
    A source never corroborates itself, nor does one that speaks with its voice.
    """
    same = market(TITLE, source_event_id="another")
    book = event("clob", TITLE, source_event_id="third")
    assert boost(market(TITLE), market(TITLE), same, book) == 0.0
    assert verdict("cross_source", market(TITLE), among(market(TITLE), same, book)).status == NOT_APPLICABLE
    # Its own words make no other source's words more alike.
    assert boost(market(TITLE), same, article("Suez one two")) == 0.15


def test_sources_count_once() -> None:
    """
    Many articles of one source are one source.
    """
    articles = [article(TITLE, f"article-{at}") for at in range(5)]
    assert boost(market(TITLE), *articles) == 0.2
    assert boost(market(TITLE), *articles, event("unknown", TITLE)) == 0.3


def test_order_is_irrelevant() -> None:
    """
    Whichever order a batch came in, each event's verdict is the same, and so is the snapshot's digest.
    """
    batch = [market(TITLE), article(TITLE), event("unknown", TITLE), market(TITLE, source_event_id="m2", age_s=9)]
    seen = set()
    for order in permutations(batch):
        snapshot = of_batch(NOW, [read(raw, RULES) for raw in order])
        answers = tuple(verdict("cross_source", raw, snapshot).SerializeToString(deterministic=True) for raw in batch)
        seen.add((snapshot.digest, answers))
    assert len(seen) == 1


def test_own_earlier_version_is_no_witness() -> None:
    """
    What a source said of the same event before adds nothing, neither as a witness nor as another domain.
    """
    before = article(TITLE, "article-1", age_s=HOUR, domain="ft.com")
    now = article(TITLE, "article-1")
    assert boost(now, before) == 0.0
    assert estimate(read(now, RULES), RULES, among(before)) == estimate(read(now, RULES), RULES, among())
    assert boost(market(TITLE), market(TITLE, age_s=HOUR, probability=0.5)) == 0.0


@given(st.lists(st.sampled_from(["polymarket", "clob", "gdelt", "usgs", "unknown"]), max_size=6))
def test_worth_is_bounded(sources: list[str]) -> None:
    """
    Whoever else speaks, no event gains more than 0.35 nor loses anything.
    """
    peers = [event(source, TITLE, source_event_id=f"e{at}") for at, source in enumerate(sources)]
    assert 0.0 <= boost(market(TITLE), *peers) <= 0.35


def test_sources_are_named() -> None:
    """
    The verdict names who says so.
    """
    answer = verdict("cross_source", market(TITLE), among(article(TITLE)))
    assert list(answer.matches) == ["gdelt", "polymarket"]
    assert answer.parameters["sources"] == 2

from dataclasses import replace

import pytest

from omen.v1 import signal_pb2
from omen_rpc.confidence_level import confidence_level
from omen_server.pipeline.confidence import completeness_of, derive, half_width
from omen_server.pipeline.profiles import SOURCES, Kind
from omen_server.pipeline.reading import read
from omen_server.pipeline.rules.market import score_of
from omen_server.pipeline.run import run
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, RULES, article, event, market

HIGH, MEDIUM, LOW = (
    signal_pb2.CONFIDENCE_LEVEL_HIGH,
    signal_pb2.CONFIDENCE_LEVEL_MEDIUM,
    signal_pb2.CONFIDENCE_LEVEL_LOW,
)


def test_worked_high() -> None:
    """
    The design's example: a deep market, complete and well placed.
    """
    liquidity = score_of(400_500.67, None, None, RULES.liquidity)
    values = {"liquidity": liquidity, "semantic": 0.9, "geographic": 1.0, "anomaly": 1.0, "source": 0.75}
    found = derive(values, 1.0, 0.75, {}, RULES)
    assert (liquidity, found.base, found.score) == (0.9007, 0.9177, 0.8921)
    assert confidence_level(found.score) == HIGH


def test_worked_medium() -> None:
    """
    A thin market of an unknown source with half of what is expected.
    """
    liquidity = score_of(1_500.0, None, None, RULES.liquidity)
    values = {"liquidity": liquidity, "semantic": 0.6, "geographic": 0.7, "anomaly": 1.0, "source": 0.40}
    found = derive(values, 0.5, 0.40, {}, RULES)
    assert (liquidity, found.score) == (0.294, 0.5074)
    assert confidence_level(found.score) == MEDIUM


def test_worked_low() -> None:
    """
    A weak one.
    """
    values = {"liquidity": 0.0, "semantic": 0.4, "geographic": 0.3, "anomaly": 0.0, "source": 0.40}
    found = derive(values, 0.5, 0.40, {}, RULES)
    assert (found.base, found.score) == (0.2, 0.35)
    assert confidence_level(found.score) == LOW


@pytest.mark.parametrize(
    ("score", "level"),
    [(1.0, HIGH), (0.85, HIGH), (0.75, HIGH), (0.7499, MEDIUM), (0.70, MEDIUM), (0.65, MEDIUM), (0.5, MEDIUM),
     (0.4999, LOW), (0.0, LOW)],
)  # fmt: skip
def test_level(score: float, level: int) -> None:
    """
    The word follows from the score by the project's one function.
    """
    assert confidence_level(score) == level


@pytest.mark.parametrize(
    ("name", "weight"),
    [("liquidity", 0.25), ("semantic", 0.20), ("geographic", 0.20), ("anomaly", 0.20), ("source", 0.15)],
)
def test_weights(name: str, weight: float) -> None:
    """
    Each factor has its weight in the base, and the base two fifths of the score.
    """
    values = dict.fromkeys(RULES.confidence.factors, 0.0) | {name: 1.0}
    found = derive(values, 0.0, 0.0, {}, RULES)
    assert found.base == weight
    assert found.score == pytest.approx(0.4 * weight)
    assert derive(dict.fromkeys(values, 0.0), 1.0, 0.0, {}, RULES).score == 0.30
    assert derive(dict.fromkeys(values, 0.0), 0.0, 1.0, {}, RULES).score == 0.30
    assert derive(dict.fromkeys(values, 1.0), 0.0, 0.0, {}, RULES).score == 0.40


def test_missing_factors_drop_out() -> None:
    """
    Without a market's factors the others share all of the weight.
    """
    found = derive({"semantic": 0.5, "geographic": 1.0, "source": 0.6}, 1.0, 0.6, {}, RULES)
    weights = {factor.name: factor.weight for factor in found.factors}
    assert weights == {"geographic": 0.363636, "semantic": 0.363636, "source": 0.272727}
    assert found.base == pytest.approx((0.2 * 0.5 + 0.2 + 0.15 * 0.6) / 0.55, abs=5e-5)


def test_boosts_are_clamped() -> None:
    """
    Boosts add to the score, which ends at 1.
    """
    values = dict.fromkeys(RULES.confidence.factors, 1.0)
    assert derive(values, 0.5, 0.75, {"cross_source": 0.15}, RULES).score == pytest.approx(0.925)
    assert derive(values, 1.0, 1.0, {"cross_source": 0.35, "news_quality": 0.1}, RULES).score == 1.0


@pytest.mark.parametrize(
    ("completeness", "trust", "width"),
    [
        (1.0, 0.9, 0.098),
        (1.0, 1.0, 0.098),
        (1.0, 0.75, 0.1274),
        (0.0, 0.9, 0.294),
        (0.5, 0.4, 0.294),
        (1, 0.85, 0.1078),
    ],
)
def test_half_width(completeness: float, trust: float, width: float) -> None:
    """
    The interval widens with what is not said and with distrust below 0.9.
    """
    assert half_width(completeness, trust, RULES.confidence) == width


@pytest.mark.parametrize(
    ("source", "trust"),
    [
        ("weather", 0.85),
        ("nws", 0.85),
        ("usgs", 0.85),
        ("gdacs", 0.85),
        ("stock", 0.85),
        ("commodity", 0.80),
        ("fred", 0.80),
        ("prices", 0.80),
        ("polymarket", 0.75),
        ("clob", 0.75),
        ("freight", 0.75),
        ("ais", 0.70),
        ("portwatch", 0.70),
        ("news", 0.60),
        ("gdelt", 0.60),
        ("unknown", 0.40),
        ("stub", 0.40),
    ],
)
def test_trust(source: str, trust: float) -> None:
    """
    Each source is trusted as the design says.
    """
    assert SOURCES[source].trust == trust


@pytest.mark.parametrize(
    ("source", "kind", "trust"),
    [
        ("fred", "stock", 0.85),
        ("prices", "stock", 0.85),
        ("prices", "commodity", 0.80),
        ("fred", "", 0.80),
        ("fred", "nws", 0.80),
        ("gdelt", "stock", 0.60),
    ],
)
def test_trust_of_prices(source: str, kind: str, trust: float) -> None:
    """
    A source of prices is trusted as the kind of price it tells; no other source can call itself one.
    """
    profile = read(event(source, "x", attributes={"kind": kind}), RULES).profile
    assert profile is not None
    assert profile.trust == trust


def test_completeness() -> None:
    """
    Completeness is the share of the expected fields that are said; zero is said, empty is not.
    """
    assert completeness_of(market(), Kind.MARKET, RULES) == 1.0
    assert completeness_of(market(figures={"best_bid": None}), Kind.MARKET, RULES) == 0.9
    assert completeness_of(market(figures={"best_bid": 0.0}), Kind.MARKET, RULES) == 1.0
    assert completeness_of(market(figures={"outcomes": None, "end_at": None}), Kind.MARKET, RULES) == 0.8
    assert completeness_of(article(), Kind.NEWS, RULES) == 1.0
    assert completeness_of(article(domain=None), Kind.NEWS, RULES) == 0.8


def test_every_kind_has_its_expectations() -> None:
    """
    No kind of source is without expected fields, and each of them exists.
    """
    for kind in Kind:
        assert 0.0 <= completeness_of(event("unknown", "x"), kind, RULES) <= 1.0


@pytest.mark.parametrize(("least", "is_emitted"), [(0.9001, True), (0.9002, False)])
def test_emission(least: float, is_emitted: bool) -> None:
    """
    A signal is emitted from the least confidence on; below it the verdict says so.
    """
    rules = replace(RULES, confidence=replace(RULES.confidence, score_min=least))
    raw = market(description="Houthi missile attacks on the Suez Canal, canal, container ships")
    outcome = run(raw, rules, NOTHING_KNOWN)
    assert (outcome.event is not None) is is_emitted
    assert outcome.rejected_by == ("" if is_emitted else "confidence")
    assert outcome.verdicts[-2].name == "confidence"
    assert outcome.verdicts[-2].score == 0.9001


def test_emission_default() -> None:
    """
    The least is 0.30.
    """
    assert RULES.confidence.score_min == 0.30

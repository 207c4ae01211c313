from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.signal_pb2 import RawSignalEvent
from tests.omen_server.pipeline.raw_events import NOT_APPLICABLE, NOW, PASSED, REJECTED, article, market, verdict


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"closed": True}, "closed"),
        ({"archived": True}, "archived"),
        ({"accepting_orders": False}, "no orders"),
        ({"active": False}, "not active"),
        ({"active": True, "closed": True}, "closed"),
        ({"end_at": NOW - timedelta(seconds=1)}, "past"),
        ({"outcomes": ["Yes", "No", "Maybe"]}, "exactly"),
        ({"outcomes": ["Red", "Blue"]}, "exactly"),
        ({"outcomes": ["yes", "no"]}, "exactly"),
        ({"outcomes": ["Yes", "Yes"]}, "exactly"),
        ({"outcomes": None}, "exactly"),
    ],
)
def test_state_refuses(figures: dict[str, Any], said: str) -> None:
    """
    Each flag of a market that is over, or is none of Yes and No, refuses it.
    """
    answer = verdict("market_state", market(figures=figures))
    assert answer.status == REJECTED
    assert said in answer.reason


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"closed": None, "archived": None, "accepting_orders": None, "active": None, "end_at": None},
        {"end_at": NOW},
        {"end_at": NOW + timedelta(seconds=1)},
        {"outcomes": ["No", "Yes"]},
        {"negative_risk": True},
    ],
)
def test_state_passes(figures: dict[str, Any]) -> None:
    """
    What a source does not say is not held against a market, and one of a group is judged by itself.
    """
    assert verdict("market_state", market(figures=figures)).status == PASSED


def test_missing_price_stays_missing() -> None:
    """
    Nothing stands in for a price: not the outcomes', not the last trade's, not the middle, not one half.
    """
    raw = market()
    raw.ClearField("probability")
    answer = verdict("market_state", raw)
    assert answer.status == REJECTED
    assert "no price" in answer.reason
    assert verdict("estimate", raw).status == REJECTED


@pytest.mark.parametrize("price", [0.0, 1.0])
def test_price_of_nothing_is_a_price(price: float) -> None:
    """
    Zero is said, not missing.
    """
    assert verdict("market_state", market(probability=price)).status == PASSED


@pytest.mark.parametrize("rule", ["market_state", "liquidity", "anomaly"])
def test_no_market(rule: str) -> None:
    """
    Of what is no market, its rules say nothing.
    """
    answer = verdict(rule, article())
    assert answer.status == NOT_APPLICABLE
    assert not answer.HasField("score")


@pytest.mark.parametrize(
    ("money", "status", "score"),
    [
        (0.0, REJECTED, 0.0),
        (-5.0, REJECTED, 0.0),
        (999.99, REJECTED, 0.25),
        (1_000.00, PASSED, 0.25),
        (1_500.0, PASSED, 0.294),
        (10_000.0, PASSED, 0.5),
        (100_000.0, PASSED, 0.75),
        (400_500.67, PASSED, 0.9007),
        (999_000.0, PASSED, 0.9999),
        (1_000_000.0, PASSED, 1.0),
        (1e12, PASSED, 1.0),
    ],
)
def test_liquidity(money: float, status: int, score: float) -> None:
    """
    A thousand dollars is the least, and each tenfold is worth a quarter.
    """
    answer = verdict("liquidity", market(figures={"liquidity_usd": money}))
    assert (answer.status, answer.score) == (status, score)


@pytest.mark.parametrize(
    ("figures", "status", "score"),
    [
        ({"volume_usd": 9_999.99}, PASSED, 0.6),
        ({"volume_usd": 10_000.0}, PASSED, 0.75),
        ({"volume_usd": None}, PASSED, 0.75),
        ({"spread": 0.05}, PASSED, 0.75),
        ({"spread": 0.0501}, PASSED, 0.6),
        ({"spread": 0.10}, PASSED, 0.6),
        ({"spread": 0.1001}, REJECTED, 0.6),
        ({"best_bid": 0.45, "best_ask": 0.55}, PASSED, 0.6),
        ({"best_bid": 0.45, "best_ask": 0.551}, REJECTED, 0.6),
        ({"best_bid": 0.70, "best_ask": 0.75}, PASSED, 0.75),
        ({"best_bid": None, "best_ask": 0.99}, PASSED, 0.75),
        ({"spread": 0.01, "best_bid": 0.1, "best_ask": 0.9}, PASSED, 0.75),
        ({"spread": 0.06, "volume_usd": 1.0}, PASSED, 0.48),
    ],
)
def test_volume_and_spread(figures: dict[str, Any], status: int, score: float) -> None:
    """
    Little volume and a wide spread each take a fifth, too wide a spread refuses; 0.55 - 0.45 is exactly 0.10.
    """
    answer = verdict("liquidity", market(figures={"liquidity_usd": 100_000.0, **figures}))
    assert (answer.status, answer.score) == (status, score)


def test_liquidity_not_said() -> None:
    """
    A market that does not say its liquidity has none to show.
    """
    answer = verdict("liquidity", market(figures={"liquidity_usd": None}))
    assert answer.status == REJECTED
    assert "liquidity_usd" not in answer.parameters


@given(
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.sampled_from([{}, {"volume_usd": 1.0}, {"spread": 0.06}, {"spread": 0.2}]),
)
def test_liquidity_is_monotone(one: float, other: float, figures: dict[str, Any]) -> None:
    """
    More money never scores less, whatever else is said.
    """
    less, more = (
        verdict("liquidity", market(figures={**figures, "liquidity_usd": money})) for money in sorted((one, other))
    )
    assert less.score <= more.score
    assert less.status == REJECTED or more.status == PASSED


@pytest.mark.parametrize(
    "tell", [lambda raw: raw.market.traders, lambda raw: raw.market.outcomes, lambda raw: raw.attributes]
)
def test_rules_leave_the_event_alone(tell: Callable[[RawSignalEvent], object]) -> None:
    """
    Asking a rule changes nothing in the event.
    """
    raw = market()
    before = raw.SerializeToString(deterministic=True)
    tell(raw)
    for rule in ("sanity", "market_state", "liquidity", "anomaly", "semantic", "geographic", "freshness"):
        verdict(rule, raw)
    assert raw.SerializeToString(deterministic=True) == before

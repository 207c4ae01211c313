from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from omen_server.pipeline.attribute import SECOND_NS, ns_of_moment
from omen_server.pipeline.history import Point, extended, key_of
from omen_server.pipeline.snapshot import Snapshot
from tests.omen_server.pipeline.raw_events import NOW, PASSED, REJECTED, market, verdict

NOW_NS = ns_of_moment(NOW)


@pytest.mark.parametrize(
    ("probability", "figures", "points"),
    [
        (0.72, {}, 0.0),
        (0.05, {}, 0.0),
        (0.0499, {}, 0.3),
        (0.95, {}, 0.0),
        (0.9501, {}, 0.3),
        (0.72, {"one_day_change": 0.20}, 0.0),
        (0.72, {"one_day_change": 0.2001}, 0.15),
        (0.72, {"one_day_change": -0.2001}, 0.15),
        (0.72, {"one_day_change": 0.50}, 0.15),
        (0.72, {"one_day_change": 0.5001}, 0.4),
        (0.72, {"one_day_change": -0.5001}, 0.4),
        (0.72, {"traders": 9}, 0.3),
        (0.72, {"traders": 10}, 0.0),
        (0.72, {"traders": 0}, 0.3),
        (0.72, {"traders": 9, "volume_usd": 10_000.0}, 0.0),
        (0.72, {"traders": 9, "volume_usd": 10_000.01}, 0.3),
        (0.72, {"traders": 9, "volume_usd": None}, 0.0),
        (0.72, {"last_trade_price": 0.82}, 0.0),
        (0.72, {"last_trade_price": 0.8201}, 0.2),
        (0.72, {"last_trade_price": 0.62}, 0.0),
        (0.72, {"last_trade_price": 0.6199}, 0.2),
        (0.72, {"last_trade_price": 0.1, "best_bid": None}, 0.0),
        (0.72, {"outcome_prices": [0.72, 0.31]}, 0.0),
        (0.72, {"outcome_prices": [0.72, 0.3101]}, 0.3),
        (0.72, {"outcome_prices": [0.72, 0.25]}, 0.0),
        (0.72, {"outcome_prices": [0.72, 0.2499]}, 0.3),
        (0.72, {"outcome_prices": None}, 0.0),
        (0.72, {"best_bid": 0.73}, 0.0),
        (0.72, {"best_bid": 0.7301}, 0.5),
    ],
)
def test_points(probability: float, figures: dict[str, Any], points: float) -> None:
    """
    Each oddity costs its points beyond its limit and none at it.
    """
    answer = verdict("anomaly", market(probability=probability, figures=figures))
    assert answer.parameters["points"] == points
    assert answer.score == pytest.approx(1 - points, abs=1e-9)


@pytest.mark.parametrize(
    ("probability", "figures", "points", "status"),
    [
        (0.96, {"one_day_change": 0.21}, 0.45, PASSED),
        (0.96, {"last_trade_price": 0.1}, 0.50, REJECTED),
        (0.72, {"best_bid": 0.74}, 0.50, REJECTED),
        (0.96, {"traders": 1}, 0.60, REJECTED),
        (0.96, {"traders": 1, "one_day_change": 0.9, "outcome_prices": [0.1], "best_bid": 0.9}, 1.8, REJECTED),
    ],
)
def test_half_a_point_refuses(probability: float, figures: dict[str, Any], points: float, status: int) -> None:
    """
    Exactly 0.50 is too much already, and a score never falls below 0.
    """
    answer = verdict("anomaly", market(probability=probability, figures=figures))
    assert answer.parameters["points"] == pytest.approx(points)
    assert answer.status == status
    assert answer.score == pytest.approx(max(0.0, 1 - points))
    assert list(answer.matches) == sorted(answer.matches)


def known(values: list[float], *, last_s: int = 60) -> Snapshot:
    """
    Return a snapshot that has seen these prices, a minute apart.
    """
    points = tuple(
        Point(NOW_NS - (last_s + 60 * (len(values) - 1 - at)) * SECOND_NS, value) for at, value in enumerate(values)
    )
    return Snapshot(NOW, {key_of(market()): points})


# Mean 0.5, deviation 0.1.
TEN = [0.4, 0.6] * 5


@pytest.mark.parametrize(
    ("samples", "probability", "points"),
    [
        (TEN, 0.8, 0.2),
        (TEN, 0.7999, 0.0),
        (TEN, 0.2, 0.2),
        (TEN, 0.2001, 0.0),
        (TEN[:9], 0.94, 0.0),
        ([0.5] * 10, 0.8, 0.0),
    ],
)
def test_outlier(samples: list[float], probability: float, points: float) -> None:
    """
    Three deviations from at least ten samples are odd; nine samples, or ten equal ones, say nothing.
    """
    answer = verdict("anomaly", market(probability=probability), known(samples))
    assert answer.parameters["points"] == points


def test_outlier_looks_back_only() -> None:
    """
    What was seen at the event's own time or after it is no history of it.
    """
    answer = verdict("anomaly", market(probability=0.8), known(TEN, last_s=0))
    assert answer.parameters["points"] == 0.0
    assert answer.parameters["samples"] == 9


def test_order_of_events_is_irrelevant() -> None:
    """
    The same points in any order give the same verdict: nothing is remembered between calls.
    """
    points = [Point(NOW_NS - at * SECOND_NS, value) for at, value in enumerate([0.4, 0.6, 0.5, 0.45], start=1)]
    answers = set()
    for order in permutations(points):
        series: tuple[Point, ...] = ()
        for point in order:
            series = extended(series, point, NOW_NS)
        for early in range(10, 18):
            series = extended(series, Point(NOW_NS - early * SECOND_NS, 0.5), NOW_NS)
        snapshot = Snapshot(NOW, {key_of(market()): series})
        answers.add(verdict("anomaly", market(probability=0.9), snapshot).SerializeToString(deterministic=True))
        verdict("anomaly", market(probability=0.01, observed_at=NOW - timedelta(seconds=5)), snapshot)
    assert len(answers) == 1

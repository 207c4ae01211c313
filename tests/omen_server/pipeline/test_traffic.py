from typing import Any

import pytest

from tests.omen_server.pipeline.raw_events import (
    NOT_APPLICABLE,
    PASSED,
    REJECTED,
    article,
    transits,
    verdict,
    vessels,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("ratios", "status", "score"),
    [
        ({"congestion_ratio": 1.4999}, REJECTED, 0.0),
        ({"congestion_ratio": 1.5}, PASSED, 0.25),
        ({"congestion_ratio": 2.0}, PASSED, 0.5),
        ({"congestion_ratio": 3.0}, PASSED, 1.0),
        ({"congestion_ratio": 9.0}, PASSED, 1.0),
        ({"congestion_ratio": None, "delay_ratio": 1.4999}, REJECTED, 0.0),
        ({"congestion_ratio": None, "delay_ratio": 1.5}, PASSED, 0.5),
        ({"congestion_ratio": None, "delay_ratio": 2.0}, PASSED, 1.0),
        ({"congestion_ratio": 1.5, "delay_ratio": 1.8}, PASSED, 0.8),
        ({"congestion_ratio": 1.0, "delay_ratio": 1.5}, PASSED, 0.5),
        ({"congestion_ratio": NAN, "delay_ratio": NAN}, REJECTED, 0.0),
        ({"congestion_ratio": float("inf")}, REJECTED, 0.0),
        ({"congestion_ratio": None}, REJECTED, 0.0),
    ],
)
def test_vessels(ratios: dict[str, Any], status: int, score: float) -> None:
    """
    From half as much again traffic is unusual; a ratio is worth its excess, over two of congestion or one of delay.
    """
    answer = verdict("traffic", vessels(**ratios))
    assert (answer.status, answer.score) == (status, score)


@pytest.mark.parametrize(
    ("mmsi", "status"),
    [("563012345", PASSED), ("56301234", REJECTED), ("5630123456", REJECTED), ("56301234x", REJECTED),
     ("٥٦٣٠١٢٣٤٥", REJECTED), (None, PASSED)],
)  # fmt: skip
def test_mmsi(mmsi: str | None, status: int) -> None:
    """
    A ship's number has nine digits; figures of many ships have none.
    """
    assert verdict("traffic", vessels(mmsi=mmsi)).status == status


@pytest.mark.parametrize(
    ("year", "quarter", "status", "score"),
    [
        (-24.9999, None, REJECTED, 0.0),
        (-25.0, None, PASSED, 0.25),
        (-60.0, None, PASSED, 0.6),
        (-100.0, None, PASSED, 1.0),
        (None, -24.9999, REJECTED, 0.0),
        (None, -25.0, PASSED, 0.25),
        (10.0, -30.0, PASSED, 0.3),
        (-30.0, 10.0, PASSED, 0.3),
        (40.0, 30.0, REJECTED, 0.0),
        (None, None, REJECTED, 0.0),
        (NAN, -30.0, PASSED, 0.3),
    ],
)
def test_transits(year: float | None, quarter: float | None, status: int, score: float) -> None:
    """
    A quarter fewer than last year, or than the last 90 days, is a disruption.
    """
    answer = verdict("traffic", transits(change_year_pct=year, change_median_pct=quarter))
    assert (answer.status, answer.score) == (status, score)


def test_no_traffic() -> None:
    """
    Of what is no traffic the rule says nothing.
    """
    assert verdict("traffic", article()).status == NOT_APPLICABLE

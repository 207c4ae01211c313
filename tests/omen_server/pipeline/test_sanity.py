from collections.abc import Callable
from datetime import timedelta

import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from tests.omen_server.pipeline.raw_events import NOW, PASSED, REJECTED, market, verdict

Change = Callable[[RawSignalEvent], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.title,
        lambda raw: setattr(raw, "probability", 0.0),
        lambda raw: setattr(raw, "probability", -0.0),
        lambda raw: setattr(raw, "probability", 1.0),
        lambda raw: raw.ClearField("probability"),
        lambda raw: setattr(raw, "title", "x"),
        lambda raw: setattr(raw, "title", "x" * 500),
        lambda raw: setattr(raw, "description", "x\n" * 5_000),
        lambda raw: setattr(raw, "source_event_id", "x" * 200),
        lambda raw: raw.observed_at.FromDatetime(NOW + timedelta(hours=1)),
        lambda raw: setattr(raw, "source", "unknown"),
    ],
)
def test_well_formed(change: Change) -> None:
    """
    What lies within the limits, the limits included, is an event.
    """
    raw = market()
    change(raw)
    assert verdict("sanity", raw).status == PASSED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(
            (lambda raw, p=p: setattr(raw, "probability", p), "probability")
            for p in (float("nan"), float("inf"), -float("inf"), 1.0000001, -0.0000001)
        ),
        *(
            (lambda raw, name=name, value=value: setattr(raw.market, name, value), name)
            for name in ("liquidity_usd", "volume_usd", "best_bid", "one_day_change")
            for value in (float("nan"), float("inf"))
        ),
        (lambda raw: raw.market.outcome_prices.append(float("nan")), "outcome_prices"),
        (lambda raw: setattr(raw, "title", ""), "title is empty"),
        (lambda raw: setattr(raw, "title", " \t"), "title is empty"),
        (lambda raw: setattr(raw, "title", "x" * 501), "The title has 501 characters"),
        (lambda raw: setattr(raw, "title", "x\x00y"), "control character"),
        (lambda raw: setattr(raw, "description", "x" * 10_001), "The description has 10001"),
        (lambda raw: setattr(raw, "source_event_id", ""), "no id"),
        (lambda raw: setattr(raw, "source_event_id", "x" * 201), "The id has 201"),
        (lambda raw: setattr(raw, "url", "x" * 2_001), "The address has 2001"),
        (lambda raw: setattr(raw, "licence", "x" * 201), "The licence has 201"),
        (lambda raw: setattr(raw, "source", "astrology"), "'astrology' is not known"),
        (lambda raw: raw.ClearField("observed_at"), "does not say when"),
        (lambda raw: setattr(raw.observed_at, "seconds", 1 << 60), "years 0001 to 9999"),
        (lambda raw: setattr(raw.fetched_at, "nanos", -1), "years 0001 to 9999"),
        (lambda raw: setattr(raw.market.end_at, "seconds", -(1 << 60)), "years 0001 to 9999"),
        (lambda raw: raw.observed_at.FromDatetime(NOW + timedelta(hours=1, microseconds=1)), "3600 s ahead"),
    ],
)
def test_refused(change: Change, said: str) -> None:
    """
    What lies beyond the limits is refused, and the reason names it.
    """
    raw = market()
    change(raw)
    answer = verdict("sanity", raw)
    assert answer.status == REJECTED
    assert said in answer.reason


def test_all_faults_are_named() -> None:
    """
    A caller learns of every fault at once.
    """
    answer = verdict("sanity", RawSignalEvent(probability=2.0))
    assert answer.status == REJECTED
    assert answer.reason.count(";") >= 4

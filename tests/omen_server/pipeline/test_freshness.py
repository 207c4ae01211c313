from collections.abc import Callable
from datetime import timedelta

import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.snapshot import Snapshot
from tests.omen_server.pipeline.raw_events import NOW, PASSED, REJECTED, alert, event, verdict

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@pytest.mark.parametrize(
    ("source", "limit_s"),
    [
        ("polymarket", 5 * MINUTE),
        ("clob", 5 * MINUTE),
        ("stub", 5 * MINUTE),
        ("ais", HOUR),
        ("news", 72 * HOUR),
        ("gdelt", 72 * HOUR),
        ("usgs", 24 * HOUR),
        ("gdacs", 24 * HOUR),
        ("commodity", 4 * DAY),
        ("stock", 4 * DAY),
        ("fred", 4 * DAY),
        ("prices", 4 * DAY),
        ("freight", 8 * DAY),
        ("portwatch", 10 * DAY),
        ("unknown", 24 * HOUR),
    ],
)
def test_age_limits(source: str, limit_s: int) -> None:
    """
    Each source's word is good up to its limit, the limit included, and not a second longer.
    """
    assert verdict("freshness", event(source, "x", age_s=limit_s - 1)).status == PASSED
    assert verdict("freshness", event(source, "x", age_s=limit_s)).status == PASSED
    answer = verdict("freshness", event(source, "x", age_s=limit_s + 1))
    assert answer.status == REJECTED
    assert answer.parameters["age_s"] == limit_s + 1
    assert answer.parameters["age_s_max"] == limit_s


@pytest.mark.parametrize(
    ("seconds", "status"), [(-1, PASSED), (0, PASSED), (1, REJECTED), (-7_200, PASSED), (-7_201, PASSED)]
)
def test_alert_until_it_expires(seconds: int, status: int) -> None:
    """
    An alert holds until it expires, the moment itself included.
    """
    expires = NOW + timedelta(hours=2)
    snapshot = Snapshot(expires + timedelta(seconds=seconds))
    assert verdict("freshness", alert(), snapshot).status == status


@pytest.mark.parametrize("expires", ["", "soon", "2026-01-28T12:00:00"])
def test_alert_without_an_end(expires: str) -> None:
    """
    An alert that does not say when it expires is not taken on trust.
    """
    assert verdict("freshness", alert(expires=expires)).status == REJECTED


@pytest.mark.parametrize(
    ("age_s", "score"), [(0, 1.0), (24 * HOUR, 0.5), (48 * HOUR, 0.25), (72 * HOUR, 0.125), (12 * HOUR, 0.7071)]
)
def test_news_fades(age_s: int, score: float) -> None:
    """
    An article's score halves each day.
    """
    assert verdict("freshness", event("gdelt", "x", age_s=age_s)).score == score


@pytest.mark.parametrize("source", ["polymarket", "usgs", "fred"])
def test_others_do_not_fade(source: str) -> None:
    """
    Whatever else is within its limit counts in full.
    """
    assert verdict("freshness", event(source, "x", age_s=200)).score == 1.0


def test_the_future_is_not_younger_than_new() -> None:
    """
    What comes from a clock that is ahead is 0 s old.
    """
    answer = verdict("freshness", event("polymarket", "x", age_s=-1_800))
    assert (answer.status, answer.parameters["age_s"]) == (PASSED, 0.0)


@pytest.mark.parametrize("make", [lambda: event("polymarket", "x", age_s=299), lambda: event("gdelt", "x", age_s=3)])
def test_age_is_against_as_of(make: Callable[[], RawSignalEvent]) -> None:
    """
    No clock is asked: a year later the event is too old because the snapshot says so.
    """
    assert verdict("freshness", make(), Snapshot(NOW)).status == PASSED
    assert verdict("freshness", make(), Snapshot(NOW + timedelta(days=365))).status == REJECTED

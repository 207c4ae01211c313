import pytest

from omen_server.pipeline.sources import portwatch
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused, SourceUnavailable
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons


def test_never_fresh() -> None:
    """
    An event is observed on the day it tells of, a week before it was fetched; days come as milliseconds or text.
    """
    assert only("portwatch/year_before.json").observed_at.ToJsonString() == "2026-08-09T00:00:00Z"


def test_compared() -> None:
    """
    The week is compared with the same days a year before, and with the 90 days before it.
    """
    said = attributes(only("portwatch/year_before.json"))
    assert (said["mean_7d"], said["days_7d"]) == (30.8571, 7)
    assert (said["mean_7d_year_before"], said["change_year_pct"]) == (63.0, -51.0204)
    assert (said["median_90d"], said["change_median_pct"]) == (50.0, -38.2857)
    assert (said["calls"], said["n_tanker"], said["kind"]) == (30, 12, "chokepoint")


def test_missing_days() -> None:
    """
    A day that is not there is not a day without ships; of too few days there is no mean.
    """
    events = by_id("portwatch/missing_days.json")
    hormuz, mandeb = (attributes(events[f"chokepoint{number}:2026-08-09"]) for number in (6, 4))
    assert (hormuz["days_7d"], hormuz["mean_7d"]) == (5, 30.0)
    assert mandeb["days_7d"] == 2
    assert "mean_7d" not in mandeb
    assert "change_year_pct" not in hormuz


def test_no_count() -> None:
    """
    A port without a count makes no event, zero ships are zero, fewer than none are refused.
    """
    events = by_id("portwatch/null_total.json")
    assert set(events) == {"chokepoint1:2026-08-09", "port1114:2026-08-09"}
    assert attributes(events["chokepoint1:2026-08-09"])["calls"] == 0
    assert attributes(events["port1114:2026-08-09"])["calls"] == 81
    assert "features[2].attributes.n_total: is no number of ships" in reasons(
        goldens.parse("portwatch/null_total.json")
    )


def test_next_page() -> None:
    """
    Where there are more rows, the next page starts after those of this one.
    """
    assert goldens.parse("portwatch/more_pages.json").next_page == "2002"
    assert goldens.parse("portwatch/year_before.json").next_page == ""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"code":400,"message":"Invalid query parameters.","details":[]}}', SourceRefused),
        (b'{"error":{"code":498,"message":"Invalid token."}}', SourceRefused),
        (b'{"error":{"code":429,"message":"Too many requests."}}', SourceUnavailable),
        (b'{"error":{"code":500,"message":"Busy."}}', SourceUnavailable),
        (b'{"error":"no object"}', SourceMalformed),
        (b'{"rows":[]}', SourceMalformed),
    ],
)
def test_error_with_status_200(body: bytes, kind: type[Exception]) -> None:
    """
    An error that comes as data is an error: the source's own, one to come back from, or none that can be read.
    """
    with pytest.raises(kind):
        portwatch.parse(body, goldens.FETCHED_AT, "")

"""
Figures a day: FRED, prices, freight.
"""

import pytest

from omen.v1 import signal_pb2
from omen_server.pipeline.sources import fred, freight, prices
from omen_server.pipeline.sources.series import percent, z_score
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons

AT = goldens.FETCHED_AT


def test_missing_in_csv() -> None:
    """
    Missing values are counted and never filled in: the newest value is that of the last day that has one.
    """
    event = only("fred/chart.csv")
    said = attributes(event)
    assert event.observed_at.ToJsonString() == "2026-08-13T00:00:00Z"
    assert (said["value"], said["previous_value"], said["previous_date"]) == (84.0, 82.5, "2026-08-12")
    assert (said["missing_count"], said["samples"], said["change_pct"]) == (2, 3, 1.8182)
    assert [day for day, _ in said["history"]] == ["2026-08-10", "2026-08-12", "2026-08-13"]


def test_missing_in_json() -> None:
    """
    The API's missing value is a dot; its series is named by the address, whose key stays out of the event.
    """
    event = only("fred/observations.json")
    said = attributes(event)
    assert (said["series"], said["missing_count"], said["change_pct"]) == ("DCOILWTICO", 1, 10.0)
    assert "k3y" not in str(event)


def test_no_value_at_all() -> None:
    """
    A series without a value makes no event, and says so.
    """
    assert reasons(goldens.parse("fred/no_value.csv")) == ["DCOILWTICO: has no value, and 2 missing"]


def test_licence_by_series() -> None:
    """
    Oil is in the public domain, the S&P 500 is not, and of others it is not known.
    """
    events = by_id("fred/two_series.csv")
    assert events["DHHNGSP:2026-08-14"].licence == fred.PUBLIC_DOMAIN
    assert events["SP500:2026-08-14"].licence == fred.PRE_APPROVAL
    assert attributes(events["SP500:2026-08-14"])["kind"] == "stock"
    other = fred.parse(b"DATE,T10Y\n2026-08-14,1.5\n", AT, "").events[0]
    assert other.licence == fred.LICENCE


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (b'{"error_code":400,"error_message":"Bad Request. The value for variable api_key is not registered."}', "x"),
        (b"<!DOCTYPE html>\n<html>\n", "x"),
        (b"<html>", "x"),
    ],
)
def test_fred_says_no(body: bytes, url: str) -> None:
    """
    An error object and a web page are refusals.
    """
    with pytest.raises(SourceRefused):
        fred.parse(body, AT, url)


def test_nameless_series() -> None:
    """
    Observations of nobody knows what are malformed.
    """
    with pytest.raises(SourceMalformed, match="does not name its series"):
        fred.parse(b'{"observations": []}', AT, "https://api.stlouisfed.org/fred/series/observations?file_type=json")


def test_spike() -> None:
    """
    A spike shows as percent and in standard deviations; the file's name is the symbol; the file came by hand.
    """
    event = only("prices/spike.csv")
    said = attributes(event)
    assert (said["series"], said["change_pct"]) == ("copper", 21.8447)
    assert said["z_score"] > 20
    assert event.provenance == signal_pb2.PROVENANCE_MANUAL


def test_symbols() -> None:
    """
    One file may hold several symbols; bad rows and second values are named.
    """
    events = by_id("prices/symbols.csv")
    assert attributes(events["BRN:2026-08-14"])["value"] == 89.0
    assert attributes(events["BRN:2026-08-14"])["missing_count"] == 1
    assert attributes(events["MAERSK:2026-08-14"])["kind"] == "stock"
    assert "previous_value" not in attributes(events["MAERSK:2026-08-14"])
    assert len(goldens.parse("prices/symbols.csv").skipped) == 3


def test_page_in_place_of_prices() -> None:
    """
    A page or a sentence with status 200 is a refusal that quotes it; a table without a price is malformed.
    """
    with pytest.raises(SourceRefused, match="Exceeded the daily hits limit"):
        prices.parse(b"Exceeded the daily hits limit", AT, "https://stooq.com/q/d/l/?s=cl.f&i=d")
    with pytest.raises(SourceMalformed, match="close, value, price"):
        prices.parse(b"date,open\n2026-08-14,1\n", AT, "")


def test_symbol_in_the_address() -> None:
    """
    The symbol is the address's parameter, or the file's name, or nobody's.
    """
    for url, symbol in (("https://x.example/l/?s=cl.f", "cl.f"), ("/tmp/tin.csv", "tin"), ("", "unnamed")):
        assert attributes(prices.parse(b"date,close\n2026-08-14,1\n", AT, url).events[0])["series"] == symbol


def test_freight() -> None:
    """
    Freight is marked as entered by hand under a licence of its own.
    """
    events = by_id("freight/lanes.csv")
    assert attributes(events["FBX01:2026-08-14"])["change_pct"] == 15.025
    assert {event.provenance for event in events.values()} == {signal_pb2.PROVENANCE_MANUAL}
    assert {event.licence for event in events.values()} == {freight.LICENCE}
    assert reasons(goldens.parse("freight/lanes.csv")) == ["line 5.lane: is missing"]


def test_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A table has so many lines and no more: to leave out the newest would be worse than to leave out all.
    """
    monkeypatch.setattr("omen_server.pipeline.sources.node.LINES_MAX", 3)
    body = b"date,close\n2026-08-12,1\n2026-08-13,1\n"
    assert len(prices.parse(body, AT, "").events) == 1
    with pytest.raises(SourceMalformed, match="line 4: there are more than 3 lines"):
        prices.parse(body + b"2026-08-14,2\n", AT, "")


def test_many_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    So many series fit in one answer; the others are named.
    """
    monkeypatch.setattr("omen_server.pipeline.sources.prices.SERIES_MAX", 1)
    parsed = prices.parse(b"date,symbol,close\n2026-08-12,A,1\n2026-08-13,B,1\n2026-08-13,A,2\n", AT, "")
    assert len(parsed.events) == 1
    assert reasons(parsed) == ["line 3.symbol: is one of more than 1 symbols"]


@pytest.mark.parametrize(
    ("value", "base", "change"),
    [(110.0, 100.0, 10.0), (1.0, 0.0, None), (1.0, None, None), (-1.0, -2.0, 50.0), (1e15, 1e-300, None)],
)
def test_percent(value: float, base: float | None, change: float | None) -> None:
    """
    A change is relative to the size of what was before; against nothing there is none.
    """
    assert percent(value, base) == change


def test_deviations() -> None:
    """
    Ten samples are enough, nine are not, and equal ones say nothing.
    """
    samples = [1.0, 3.0] * 5
    assert z_score(5.0, samples) == 3.0
    assert z_score(5.0, samples[:-1]) is None
    assert z_score(5.0, [2.0] * 10) is None

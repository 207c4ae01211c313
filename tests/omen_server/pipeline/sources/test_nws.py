from datetime import UTC, datetime

import pytest

from omen_server.pipeline.sources import nws
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons


def test_local_times() -> None:
    """
    Times of the office's clock become UTC.
    """
    event = only("nws/alert.json")
    assert event.observed_at.ToDatetime(UTC) == datetime(2026, 8, 16, 8, 12, tzinfo=UTC)
    said = attributes(event)
    assert (said["expires"], said["ends"]) == ("2026-08-16T20:00:00Z", "2026-08-17T06:00:00Z")
    assert (said["severity"], said["certainty"], said["urgency"]) == ("Severe", "Likely", "Expected")


def test_update() -> None:
    """
    An update takes the place of the alert it refers to, and says so.
    """
    events = by_id("nws/update_supersedes.json")
    assert set(events) == {"urn:oid:2.new", "urn:oid:3.other"}
    assert attributes(events["urn:oid:2.new"])["references"] == ["urn:oid:1.old"]
    assert "features[0].properties.id: is replaced by urn:oid:2.new" in reasons(
        goldens.parse("nws/update_supersedes.json")
    )


def test_cancel() -> None:
    """
    A cancel takes the alert away, wherever it stands, and is no event itself.
    """
    assert set(by_id("nws/cancel.json")) == {"urn:oid:6.kept"}


def test_who_may_replace() -> None:
    """
    An exercise takes no alert away, nor does one that cannot be read; of two that name each other the later stays.
    """
    assert set(by_id("nws/false_updates.json")) == {"urn:oid:20.real", "urn:oid:24.later"}


def test_no_shape() -> None:
    """
    An alert without a shape has no coordinates, but its zones.
    """
    event = only("nws/null_geometry.json")
    assert not event.location.HasField("latitude")
    assert not event.location.HasField("longitude")
    assert (event.location.name, event.location.country) == ("Galveston Bay; Chambers, TX", "US")
    assert attributes(event)["ugc"] == ["GMZ335", "TXZ214"]


def test_shape() -> None:
    """
    A polygon's place is the middle of its corners, the closing one counted once.
    """
    location = only("nws/alert.json").location
    assert (location.latitude, location.longitude) == (29.5, -94.5)


def test_date_line() -> None:
    """
    The middle of a shape across the date line lies at the date line, not at Greenwich.
    """
    location = only("nws/date_line.json").location
    assert (location.latitude, abs(location.longitude)) == (52.0, 180.0)


def test_open_end() -> None:
    """
    An open end stays open; without a headline the title is made of event and area.
    """
    event = only("nws/open_end.json")
    assert "ends" not in attributes(event)
    assert event.title == "Tropical Storm Warning: Galveston Bay; Chambers, TX"


def test_exercises() -> None:
    """
    Tests and exercises are no alerts.
    """
    assert set(by_id("nws/not_actual.json")) == {"urn:oid:12.real"}


def test_bad_alerts() -> None:
    """
    Alerts with a bad time or place are named; the others are there.
    """
    parsed = goldens.parse("nws/one_bad_of_three.json")
    assert len(parsed.events) == 2
    assert len(parsed.skipped) == 3


def test_errors() -> None:
    """
    A problem document is a refusal; a collection without a list is malformed.
    """
    with pytest.raises(SourceRefused, match="Bad Request"):
        nws.parse(
            b'{"title":"Bad Request","status":400,"type":"https://api.weather.gov/problems/x"}', goldens.FETCHED_AT, ""
        )
    with pytest.raises(SourceMalformed, match="features: is missing"):
        nws.parse(b'{"type":"FeatureCollection"}', goldens.FETCHED_AT, "")

import pytest

from omen_server.pipeline.sources import gdacs
from omen_server.pipeline.sources.source import SourceMalformed
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons

LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<rss><channel><item><title>&c;</title></item></channel></rss>"""
OUTSIDE = b'<!DOCTYPE rss SYSTEM "file:///etc/passwd"><rss><channel/></rss>'
DEEP = b"<rss><channel>" + b"<a>" * 40


def test_no_zone() -> None:
    """
    Times without a zone are taken as UTC, and marked; those with one are not.
    """
    assert attributes(only("gdacs/json_without_zone.json"))["zone_assumed"] is True
    assert only("gdacs/json_without_zone.json").observed_at.ToJsonString() == "2026-08-16T08:05:00Z"
    assert "zone_assumed" not in attributes(only("gdacs/rss.xml"))
    assert "zone_assumed" not in attributes(by_id("gdacs/json_is_current.json")["TC-1000803"])


def test_is_current() -> None:
    """
    Whether an event goes on is a boolean, a string, or not said.
    """
    said = {name: attributes(event).get("is_current") for name, event in by_id("gdacs/json_is_current.json").items()}
    assert said == {"TC-1000801": True, "TC-1000802": False, "TC-1000803": False, "TC-1000804": None}


@pytest.mark.parametrize(("name", "episode"), [("gdacs/rss_episodes.xml", "13"), ("gdacs/json_episodes.json", "7")])
def test_episodes(name: str, episode: str) -> None:
    """
    Episodes are states of one event: the newest counts, in whatever order they come.
    """
    assert attributes(only(name))["episode_id"] == episode


def test_feed() -> None:
    """
    The feed gives level, severity and place.
    """
    event = only("gdacs/rss.xml")
    said = attributes(event)
    assert (said["alert_level"], said["severity"], said["severity_unit"]) == ("Orange", 6.1, "M")
    assert (event.location.latitude, event.location.longitude) == (12.6, 43.3)
    assert event.url == "https://www.gdacs.org/report.aspx?eventtype=EQ&eventid=1500001"


def test_bad_items() -> None:
    """
    Bad items are named; the other is there, with its place from the other namespace.
    """
    parsed = goldens.parse("gdacs/rss_one_bad.xml")
    assert (parsed.events[0].location.latitude, parsed.events[0].location.longitude) == (-7.5, 110.4)
    assert reasons(parsed)[0] == "item[0].properties.iscurrent: is neither true nor false"


@pytest.mark.parametrize(
    "body", [LAUGHS, OUTSIDE, DEEP, b"<html><body>busy</body></html>", b"<rss><channel>", b"<rss/>"]
)
def test_hostile_markup(body: bytes) -> None:
    """
    Entities, documents from outside, deep nests and pages are refused, each at its place.
    """
    with pytest.raises(SourceMalformed) as caught:
        gdacs.parse(body, goldens.FETCHED_AT, "")
    assert caught.value.place


def test_too_many_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A feed has so many elements and no more.
    """
    monkeypatch.setattr("omen_server.pipeline.sources.markup.ELEMENTS_MAX", 9)
    body = b"<rss><channel>" + b"<item/>" * 7
    gdacs.parse(body + b"</channel></rss>", goldens.FETCHED_AT, "")
    with pytest.raises(SourceMalformed, match="repeated"):
        gdacs.parse(body + b"<item/></channel></rss>", goldens.FETCHED_AT, "")

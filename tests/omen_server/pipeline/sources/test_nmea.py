import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen_server.pipeline.sources import nmea
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons

KNOWN = b"!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C"  # The example every decoder is shown with.


def test_known_sentence() -> None:
    """
    A sentence decoded by others says the same here.
    """
    event = nmea.parse(KNOWN, goldens.FETCHED_AT, "").events[0]
    assert (event.location.longitude, event.location.latitude) == (-122.345833, 47.582833)
    said = attributes(event)
    assert (said["mmsi"], said["speed_kn"], said["course_deg"], said["heading_deg"]) == ("477553000", 0.0, 51.0, 181)
    assert (said["second"], said["navigation_status"]) == (15, 5)


@given(st.integers(0, len(KNOWN) - 1), st.integers(1, 255))
def test_checksum(at: int, flip: int) -> None:
    """
    No changed byte goes unnoticed.
    """
    body = bytearray(KNOWN)
    body[at] ^= flip
    same = body[:-1] == KNOWN[:-1] and body[-1:].upper() == b"C"  # Which hex digits are small says nothing.
    assert bool(nmea.parse(bytes(body), goldens.FETCHED_AT, "").events) == same


def test_both_classes() -> None:
    """
    Large and small ships are read, south and west are negative, and a tag block says when.
    """
    events = by_id("nmea/single.nmea")
    assert attributes(events["mmsi-563012345"])["speed_kn"] == 12.4
    south = events["mmsi-563012346"]
    assert (south.location.latitude, south.location.longitude) == (-33.9, -18.42)
    assert attributes(south)["rate_of_turn_code"] == -20
    assert south.observed_at.seconds == 1786874000
    small = attributes(events["mmsi-211999888"])
    assert (small["message"], small["speed_kn"], small["course_deg"]) == ("type 18", 6.1, 90.5)
    assert "heading_deg" not in small
    assert "second" not in small


def test_parts() -> None:
    """
    Parts of two messages may come mixed; what never becomes whole is told, and so is a message of another type.
    """
    assert only("nmea/multi_part.nmea").location.longitude == 103.8
    assert reasons(goldens.parse("nmea/multi_part.nmea")) == [
        "line 5: 1 of 2 sentences came",
        "line 1: is a message of type 5, no position report",
    ]


def test_parts_in_any_order() -> None:
    """
    The second part may come first.
    """
    rows = goldens.read("nmea/multi_part.nmea").split(b"\n")
    parsed = nmea.parse(b"\n".join([rows[3], rows[1]]), goldens.FETCHED_AT, "")
    assert parsed.events[0].location.longitude == 103.8


def test_damaged() -> None:
    """
    Wrong checksums, other sentences and noise are named, one line each; the good ones are there.
    """
    parsed = goldens.parse("nmea/damaged.nmea")
    assert [event.source_event_id for event in parsed.events] == ["mmsi-563012349", "mmsi-563012351"]
    assert len(parsed.skipped) == 7
    assert set(attributes(parsed.events[1])) == {"mmsi", "message"}


def test_unfinished_messages_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only so many messages may wait for their other parts; the oldest gives way.
    """
    monkeypatch.setattr("omen_server.pipeline.sources.nmea.OPEN_MAX", 1)
    rows = goldens.read("nmea/multi_part.nmea").split(b"\n")
    parsed = nmea.parse(b"\n".join([rows[0], rows[1], rows[3]]), goldens.FETCHED_AT, "")
    assert len(parsed.events) == 1
    assert reasons(parsed) == ["line 1: 1 of 2 sentences came"]

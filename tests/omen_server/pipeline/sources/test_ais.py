import orjson
import pytest

from omen_server.pipeline.sources import ais
from omen_server.pipeline.sources.source import SourceRefused
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons


def test_time_of_go() -> None:
    """
    A time with nine digits of fraction and two names of its zone is read, to the microsecond.
    """
    assert only("ais/position.json").observed_at.ToJsonString() == "2026-08-16T09:59:38.342017Z"


def test_not_available() -> None:
    """
    What AIS marks as not available is left out; a report without a position is none, and zero is a value.
    """
    events = by_id("ais/sentinels.json")
    assert set(events) == {"mmsi-563000003", "mmsi-563000004", "mmsi-563000007"}
    assert set(attributes(events["mmsi-563000003"])) == {"mmsi", "ship_name", "message"}
    assert "second" not in attributes(events["mmsi-563000004"])
    assert "heading_deg" not in attributes(events["mmsi-563000004"])
    zeros = attributes(events["mmsi-563000007"])
    assert (zeros["speed_kn"], zeros["course_deg"], zeros["heading_deg"], zeros["second"]) == (0, 0, 0, 0)


def test_stream() -> None:
    """
    Confirmations, other messages and junk are skipped and named; the newest report of each ship counts.
    """
    parsed = goldens.parse("ais/stream.jsonl")
    assert [event.source_event_id for event in parsed.events] == ["mmsi-563012345", "mmsi-636019999"]
    assert parsed.events[0].location.latitude == 12.7
    assert "frame[3].MessageType: is SubscriptionConfirmation, no position report" in reasons(parsed)
    assert "frame[5]: is junk" in reasons(parsed)


def test_mmsi() -> None:
    """
    A ship's number has nine digits.
    """
    assert "frame[5].mmsi: is no MMSI of 9 digits" in reasons(goldens.parse("ais/sentinels.json"))


def test_list_or_lines() -> None:
    """
    A recording is a list or a frame a line, with the same result.
    """
    frames = orjson.loads(goldens.read("ais/sentinels.json"))
    lines = b"\n".join(orjson.dumps(frame) for frame in frames)
    url = goldens.address("ais/sentinels.json")
    assert ais.parse(lines, goldens.FETCHED_AT, url) == goldens.parse("ais/sentinels.json")


def test_bad_key() -> None:
    """
    An error frame alone is a refusal.
    """
    with pytest.raises(SourceRefused, match="Api Key Is Not Valid"):
        ais.parse(b'{"error":"Api Key Is Not Valid"}', goldens.FETCHED_AT, "")


def test_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    So many frames are read and no more.
    """
    monkeypatch.setattr("omen_server.pipeline.sources.ais.ITEMS_MAX", 2)
    parsed = ais.parse(b"{}\n{}\n{}\n{}\n", goldens.FETCHED_AT, "")
    assert "frame[2]: 2 frames after the first 2 are not read" in reasons(parsed)

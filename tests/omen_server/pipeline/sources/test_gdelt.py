import io
import tracemalloc
import zipfile

import pytest

from omen_server.pipeline.sources import gdelt
from omen_server.pipeline.sources.node import BODY_BYTES_MAX
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused, SourceUnavailable
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, reasons


def zipped(*files: bytes) -> bytes:
    """
    Return an archive of files.
    """
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(files):
            archive.writestr(f"{number}.CSV", content)
    return memory.getvalue()


def test_article() -> None:
    """
    An article carries its domain, in lower case, its language and when it was seen.
    """
    events = goldens.parse("gdelt/articles.json").events
    assert {attributes(event)["domain"] for event in events} == {"harbour.example", "port.example"}
    assert {attributes(event)["language"] for event in events} == {"English", "German"}
    assert {event.observed_at.ToJsonString() for event in events} == {"2026-08-16T09:15:00Z"}


def test_same_article() -> None:
    """
    One address is one article; the same text elsewhere is another, which the rules may judge.
    """
    urls = {event.url for event in goldens.parse("gdelt/same_article_twice.json").events}
    assert urls == {"https://harbour.example/a1", "https://mirror.example/a1"}


def test_plain_text() -> None:
    """
    Plain text in place of JSON is a refusal that quotes it, and asks for the five seconds this source wants.
    """
    with pytest.raises(SourceRefused, match="Please limit requests to one every 5 seconds") as caught:
        gdelt.parse(b"Please limit requests to one every 5 seconds or contact us.\n", goldens.FETCHED_AT, "")
    assert caught.value.retry_after_s == 5.0


def test_page() -> None:
    """
    A web page comes from something in front of the source, which is not there.
    """
    with pytest.raises(SourceUnavailable):
        gdelt.parse(b"<html><title>503</title></html>", goldens.FETCHED_AT, "")


def test_broken_json() -> None:
    """
    JSON that breaks off is malformed, and no refusal.
    """
    with pytest.raises(SourceMalformed):
        gdelt.parse(b'{"articles": [', goldens.FETCHED_AT, "")


def test_event_file() -> None:
    """
    An event file is separated by tabs; material conflict is taken, what is bad is named, the rest is counted.
    """
    events = by_id("gdelt_events/export.CSV")
    assert set(events) == {"event-1200000001", "event-1200000003"}
    assert events["event-1200000001"].location.latitude == 14.7978
    assert not events["event-1200000003"].location.HasField("latitude")
    assert reasons(goldens.parse("gdelt_events/export.CSV"))[-1] == ": 1 events are no material conflict"


def test_event_file_zipped() -> None:
    """
    Zipped or not is the same.
    """
    body = goldens.read("gdelt_events/export.CSV")
    parsed = gdelt.parse_events(zipped(body), goldens.FETCHED_AT, goldens.address("gdelt_events/export.CSV"))
    assert parsed == goldens.parse("gdelt_events/export.CSV")


@pytest.mark.parametrize(
    "body",
    [zipped(), zipped(b"a\tb", b"c\td"), zipped(b"a\tb")[:-9], zipped(b"\t" * (BODY_BYTES_MAX + 1))],
    ids=["no file", "two files", "cut", "a bomb"],
)
def test_bad_archives(body: bytes) -> None:
    """
    An archive of another number of files, a cut one, or one that unpacks to too much is malformed.
    """
    with pytest.raises(SourceMalformed):
        gdelt.parse_events(body, goldens.FETCHED_AT, "")


def test_bomb() -> None:
    """
    An archive is unpacked as far as an answer may be long, and no further.
    """
    body = zipped(b"\t" * (8 * BODY_BYTES_MAX))
    tracemalloc.start()
    with pytest.raises(SourceMalformed, match="at most"):
        gdelt.parse_events(body, goldens.FETCHED_AT, "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * BODY_BYTES_MAX


def test_commas() -> None:
    """
    A file without a single tab is none of these.
    """
    with pytest.raises(SourceRefused, match="says"):
        gdelt.parse_events(b"a,b,c\nd,e,f\n", goldens.FETCHED_AT, "")

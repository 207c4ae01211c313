"""
What no source should have said: cut answers, junk, impossible numbers, too much. Events or a typed error come of it.
"""

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omen_server.pipeline.sources import SOURCES
from omen_server.pipeline.sources.harvest import SKIPPED_MAX
from omen_server.pipeline.sources.node import BODY_BYTES_MAX, ITEMS_MAX
from omen_server.pipeline.sources.source import (
    Parsed,
    Skipped,
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceUnavailable,
)
from tests.omen_server.pipeline import goldens

AT = goldens.FETCHED_AT
URL = "https://source.example/?series_id=X&token_id=1&market=1"
ONLINE = [name for name in SOURCES if name != "stub"]


@pytest.mark.parametrize("name", goldens.names())
def test_cut_anywhere(name: str) -> None:
    """
    An answer that ends too early gives what is whole, or a typed error; never another exception.
    """
    body = goldens.read(name)
    for end in range(0, len(body), max(1, len(body) // 60)):
        try:
            SOURCES[name.partition("/")[0]].parse(body[:end], AT, goldens.address(name))
        except SourceError as error:
            assert error.source


JUNK = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.sampled_from(
        [
            b"",
            b" \n",
            b"[]",
            b"{}",
            b"null",
            b"42",
            b'"x"',
            b"[[[",
            b"NaN",
            b"PK\x03\x04",
            b"<rss/>",
            b"<",
            b"\xef\xbb\xbf{}",
        ]
    ),
)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=50)
@given(body=JUNK)
@example(body=b'{"features": NaN}')
@example(body=b"[" * 5_000)
@example(body=b"a,b\n\0,\0\n")
@example(body=b'<?xml version="1.0" encoding="utf-7"?><rss/>')
@example(body=b'"' + b"x" * 200_000)
def test_any_bytes(name: str, body: bytes) -> None:
    """
    Whatever bytes come, there are events or a typed error.
    """
    try:
        parsed = SOURCES[name].parse(body, AT, URL)
    except (SourceMalformed, SourceRefused, SourceUnavailable) as error:
        assert error.source
        assert len(str(error)) < 1_000
    else:
        assert isinstance(parsed, Parsed)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["NaN", "1e999", "2026-02-30", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "\x00", "-0.0"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("name", [name for name in goldens.names() if name.endswith((".json", ".jsonl"))])
@settings(max_examples=25)
@given(data=st.data())
def test_any_value_anywhere(name: str, data: st.DataObject) -> None:
    """
    Whatever stands in the place of a value, there are events or a typed error.
    """
    root = orjson.loads(goldens.read(name).split(b"\n")[0] if name.endswith(".jsonl") else goldens.read(name))
    here = root
    while isinstance(here, dict | list) and here:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.integers(0, 4)) == 0:
            here[key] = data.draw(VALUES)
            break
        here = here[key]
    try:
        parsed = SOURCES[name.partition("/")[0]].parse(orjson.dumps(root), AT, goldens.address(name))
    except SourceError as error:
        assert error.source
    else:
        for event in parsed.events:
            assert event.SerializeToString()


@pytest.mark.parametrize("name", [name for name in goldens.names() if name.endswith((".csv", ".CSV", ".xml", ".nmea"))])
@settings(max_examples=25)
@given(data=st.data())
def test_any_cell_anywhere(name: str, data: st.DataObject) -> None:
    """
    Whatever stands in the place of some bytes, there are events or a typed error.
    """
    body = bytearray(goldens.read(name))
    start = data.draw(st.integers(0, len(body)))
    body[start : start + data.draw(st.integers(0, 12))] = data.draw(
        st.binary(max_size=12) | VALUES.map(str).map(str.encode)
    )
    try:
        SOURCES[name.partition("/")[0]].parse(bytes(body), AT, goldens.address(name))
    except SourceError as error:
        assert error.source


@pytest.mark.parametrize("name", SOURCES)
def test_too_large(name: str) -> None:
    """
    An answer above the limit is refused before it is read.
    """
    with pytest.raises(SourceMalformed, match="at most"):
        SOURCES[name].parse(b" " * (BODY_BYTES_MAX + 1), AT, URL)


@pytest.mark.parametrize("name", ONLINE)
def test_empty(name: str) -> None:
    """
    An answer of nothing is no answer.
    """
    with pytest.raises(SourceUnavailable, match="is empty"):
        SOURCES[name].parse(b" \r\n", AT, URL)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("name", ["polymarket", "nws", "usgs", "portwatch", "clob"])
def test_no_such_numbers(name: str, word: bytes) -> None:
    """
    NaN and Infinity are no JSON, wherever they stand; the error says at which byte.
    """
    with pytest.raises(SourceMalformed, match=r"byte \d+: is no JSON"):
        SOURCES[name].parse(b'{"features": [], "events": [%s]}' % word, AT, URL)


def test_items_are_limited() -> None:
    """
    Items above the limit are told, not read.
    """
    parsed = SOURCES["stub"].parse(b'{"count": %d}' % (ITEMS_MAX + 1), AT, "")
    assert len(parsed.events) == ITEMS_MAX
    assert parsed.skipped == (Skipped(f"event[{ITEMS_MAX}]", f"1 items after the first {ITEMS_MAX} are not read"),)


def test_reasons_are_limited() -> None:
    """
    A thousand reasons are enough; the last line says how many more there were.
    """
    parsed = SOURCES["polymarket"].parse(orjson.dumps([1] * (SKIPPED_MAX + 5)), AT, URL)
    assert len(parsed.skipped) == SKIPPED_MAX
    assert parsed.skipped[-1].reason == "6 more were skipped"


def test_a_thousand_reasons() -> None:
    """
    Exactly a thousand fit.
    """
    parsed = SOURCES["polymarket"].parse(orjson.dumps([1] * SKIPPED_MAX), AT, URL)
    assert parsed.skipped[-1].reason == "is no object"

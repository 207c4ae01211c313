"""
What a record's JSON has that this version does not know: it is put aside, checked, and written back.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import UNKNOWN_DEPTH_MAX, CodecError, content_digest, decode_json, encode_json, recognise
from tests.omen_rpc.signal_events import EVENTS, JSON_VALUES


def scatter(data: st.DataObject, value: Any, *, is_map: bool = False) -> Any:
    """
    Return the parsed record with unknown keys in some of its objects.
    """
    if type(value) is list:
        return [scatter(data, item) for item in value]
    if type(value) is not dict or is_map:
        return value
    known = {key: scatter(data, member, is_map=key == "parameters") for key, member in value.items()}
    names = st.text(max_size=6).map(lambda key: f"x{key}")
    return known | data.draw(st.dictionaries(names, JSON_VALUES, max_size=2))


@given(EVENTS, st.data())
def test_unknown_keys_survive(event: SignalEvent, data: st.DataObject) -> None:
    """
    Unknown keys at any level come back, and their record gives the same bytes and digest by either route.
    """
    record = scatter(data, json.loads(encode_json(event)))
    read = decode_json(json.dumps(record).encode())
    encoded = encode_json(read)
    assert json.loads(encoded) == record
    assert encode_json(decode_json(encoded)) == encoded
    assert recognise(read) is read
    parsed = SignalEvent.FromString(read.SerializeToString())
    assert encode_json(parsed) == encoded
    assert content_digest(parsed) == content_digest(decode_json(encoded))


def test_unknown_keys_golden() -> None:
    """
    Unknown keys follow the known ones of their object, sorted; the overlay names list items by their index.
    """
    encoded = (
        b'{"signal_id":"OMEN-DEMO001ABCD","signal":{"title":"t","evidence":[{"source":"nws"},{"url":"u","lang":"en"}],'
        b'"b":{"a":[],"z":null},"c":1},"unrecognised_json":true,"version":2.5}'
    )
    event = decode_json(encoded)
    assert event.unrecognised_json == (
        '{"signal":{"b":{"a":[],"z":null},"c":1,"evidence":{"1":{"lang":"en"}}},"unrecognised_json":true,"version":2.5}'
    )
    assert encode_json(event) == encoded


def nested(depth: int) -> bytes:
    """
    Return a record with an unknown key that holds lists in lists.
    """
    return b'{"signal":{"deep":%b%b}}' % (b"[" * depth, b"]" * depth)


def test_unknown_keys_depth() -> None:
    """
    Unknown values may be 32 levels deep, and no deeper.
    """
    assert encode_json(decode_json(nested(UNKNOWN_DEPTH_MAX))) == nested(UNKNOWN_DEPTH_MAX)
    for depth in (UNKNOWN_DEPTH_MAX + 1, 5_000):
        with pytest.raises(CodecError, match=r"deep|depth"):
            decode_json(nested(depth))


@pytest.mark.parametrize(
    ("overlay", "path"),
    [
        ("", None),
        ("{}", None),
        ("{", "unrecognised_json"),
        ("[]", "unrecognised_json"),
        ('{"signal_id":"forged"}', "signal_id"),
        ('{"signal":5}', "signal"),
        ('{"signal":{"title":"forged"}}', "signal.title"),
        ('{"signal":{"evidence":[{}]}}', "signal.evidence"),
        ('{"signal":{"evidence":{"1":{"x":1}}}}', "signal.evidence.1"),
        ('{"signal":{"evidence":{"0":{"source":"forged"}}}}', "signal.evidence.0.source"),
        ('{"signal":{"probability":"high"}}', "signal.probability"),
        ('{"signal":{"generated_at":"2026-01-28T10:00:00"}}', "signal.generated_at"),
    ],
)
def test_overlay_that_does_not_fit(overlay: str, path: str | None) -> None:
    """
    An overlay from a client cannot say again what a field says, nor lie where nothing is.
    """
    event = SignalEvent(signal_id="OMEN-DEMO001ABCD", unrecognised_json=overlay)
    event.signal.title = "t"
    event.signal.evidence.add().source = "nws"
    if path is None:
        assert (
            encode_json(event)
            == b'{"signal_id":"OMEN-DEMO001ABCD","signal":{"title":"t","evidence":[{"source":"nws"}]}}'
        )
        return
    for read in (encode_json, content_digest, recognise):
        with pytest.raises(CodecError) as refused:
            read(event)
        assert refused.value.path == path


def test_recognise_what_an_older_reader_put_aside() -> None:
    """
    A key in the overlay that has its field here becomes the field, stands in its place and is checked like it.
    """
    event = SignalEvent(unrecognised_json='{"signal":{"direction_of":"up","probability":0.5},"schema_version":"1.0.0"}')
    event.signal.trace_id = "t"
    recognised = recognise(event)
    assert recognised.signal.probability == 0.5
    assert recognised.unrecognised_json == '{"signal":{"direction_of":"up"}}'
    assert encode_json(event) == encode_json(recognised)
    assert encode_json(event) == (
        b'{"schema_version":"1.0.0","signal":{"probability":0.5,"trace_id":"t","direction_of":"up"}}'
    )


def test_unknown_protobuf_fields() -> None:
    """
    Fields of a newer sender without a name here stay in the message, and leave no trace in JSON.
    """
    newer = b"\xa2\x06\x03abc"  # Field 100, three bytes.
    event = SignalEvent.FromString(newer + SignalEvent(signal_id="OMEN-DEMO001ABCD").SerializeToString())
    event.unrecognised_json = '{"x":1}'
    assert encode_json(event) == b'{"signal_id":"OMEN-DEMO001ABCD","x":1}'
    assert newer in recognise(event).SerializeToString()

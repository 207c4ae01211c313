"""
A record as JSON: every field, every form of a value that is read, and the one form that is written.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import UninterpretedOption
from hypothesis import given

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc import signal_json
from omen_rpc.signal_codec import CodecError, content_digest, decode_json, encode_json
from tests.omen_rpc.signal_events import EVENTS


def fields_of(message: Descriptor, *path: FieldDescriptor) -> Iterator[tuple[FieldDescriptor, ...]]:
    """
    Yield the path to every field of every message in a record.
    """
    for field in message.fields:
        yield (*path, field)
        kind = field.message_type
        if kind is not None and kind.file is message.file and not kind.GetOptions().map_entry:
            yield from fields_of(kind, *path, field)


FIELDS = [path for path in fields_of(SignalEvent.DESCRIPTOR) if path[-1].name != "unrecognised_json"]
SAMPLES: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: "Bāb al-Mandab",
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_DOUBLE: 0.0,
    FieldDescriptor.TYPE_UINT64: (1 << 64) - 1,
    FieldDescriptor.TYPE_INT32: 0,
    FieldDescriptor.TYPE_ENUM: 1,
}


def sample(path: tuple[FieldDescriptor, ...]) -> Any:
    """
    Return a value for the first field of the path that sets the last.
    """
    field, *rest = path
    kind = field.message_type
    if rest:
        value: Any = {rest[0].name: sample(tuple(rest))}
    elif kind is None:
        value = SAMPLES[field.type]
    elif kind.GetOptions().map_entry:
        return {"threshold": 0.5}
    else:
        value = {"seconds": 1, "nanos": 5} if kind.name == "Timestamp" else {}
    return [value] if field.is_repeated else value


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(field.name for field in path))
def test_every_field_survives(path: tuple[FieldDescriptor, ...]) -> None:
    """
    Each field of the proto, also one added tomorrow, is written under its name and comes back.
    """
    event = SignalEvent(**{path[0].name: sample(path)})
    encoded = encode_json(event)
    said = json.loads(encoded)
    for field in path:
        said = said[0] if type(said) is list else said
        said = said[field.name]
    assert decode_json(encoded) == event
    assert not decode_json(encoded).unrecognised_json


@pytest.mark.parametrize("name", ["string_value", "negative_int_value", "name"])
def test_field_without_mapping(name: str) -> None:
    """
    A field of a kind that JSON has no agreed form for stops the import instead of being left out.
    """
    with pytest.raises(TypeError, match=name):
        signal_json._codec_of(UninterpretedOption.DESCRIPTOR.fields_by_name[name])


@given(EVENTS)
def test_round_trip(event: SignalEvent) -> None:
    """
    Every message comes back from its JSON, and gives the same bytes again.
    """
    encoded = encode_json(event)
    assert decode_json(encoded) == event
    assert encode_json(decode_json(encoded)) == encoded
    assert json.loads(encoded) == orjson.loads(encoded)


@given(EVENTS)
def test_key_order(event: SignalEvent) -> None:
    """
    Keys stand in the order of the proto's fields, and those of a map are sorted.
    """
    record = json.loads(encode_json(event))
    order = [field.name for field in SignalEvent.DESCRIPTOR.fields]
    assert list(record) == [name for name in order if name in record]
    for verdict in record.get("signal", {}).get("validation", []):
        assert list(verdict.get("parameters", {})) == sorted(verdict.get("parameters", {}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (1.0, "1.0"),
        (0.72, "0.72"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (-1e-5, "-1e-05"),
        (5e-324, "5e-324"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (-1.5e300, "-1.5e+300"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_doubles_golden(value: float, text: str) -> None:
    """
    A double has one form, that of Python's repr, whatever the release of orjson; minus zero is zero.
    """
    event = SignalEvent()
    event.signal.probability = value
    assert encode_json(event) == b'{"signal":{"probability":%b}}' % text.encode()
    assert encode_json(decode_json(b'{"zzz":[%b]}' % repr(value).encode())) == b'{"zzz":[%b]}' % text.encode()


def test_minus_zero_is_read_as_zero() -> None:
    """
    Minus zero does not even enter a message by way of JSON.
    """
    event = decode_json(b'{"signal":{"probability":-0.0,"validation":[{"parameters":{"seen":-0.0}}]}}')
    assert math.copysign(1, event.signal.probability) == 1
    assert math.copysign(1, event.signal.validation[0].parameters["seen"]) == 1


def test_absent_and_zero() -> None:
    """
    What is unset is absent, an optional zero is kept, and an empty message that is there stays there.
    """
    event = SignalEvent()
    assert encode_json(event) == b"{}"
    event.signal.probability = 0
    event.signal.context.temporal.horizon_days = 0
    event.signal.evidence.add()
    assert (
        encode_json(event)
        == b'{"signal":{"probability":0.0,"context":{"temporal":{"horizon_days":0}},"evidence":[{}]}}'
    )


def test_text_is_not_escaped() -> None:
    """
    Text stays UTF-8; only what JSON forbids is escaped, and the bytes are those of the standard library's writer.
    """
    title = 'Bāb 🚢 "\\/\b\f\n\r\t\x00\x1f\x7f\u2028'
    event = SignalEvent()
    event.signal.title = title
    expected = json.dumps({"signal": {"title": title}}, ensure_ascii=False, separators=(",", ":"))
    assert encode_json(event) == expected.encode()


@pytest.mark.parametrize("category", ["SECURITY", "SIGNAL_CATEGORY_SECURITY", 2])
def test_enum_forms(category: str | int) -> None:
    """
    An enum may be given by its short name, its full name or its number, and is written by its short name.
    """
    event = decode_json(json.dumps({"signal": {"category": category}}).encode())
    assert encode_json(event) == b'{"signal":{"category":"SECURITY"}}'


def test_enum_number_of_a_newer_version() -> None:
    """
    A number without a name here is written as the number and comes back.
    """
    event = SignalEvent()
    event.signal.category = 77  # type: ignore[assignment]  # Open enums hold any number; the stubs do not say so.
    assert encode_json(event) == b'{"signal":{"category":77}}'
    assert decode_json(encode_json(event)) == event


def test_enum_name_of_a_newer_version() -> None:
    """
    A name without a number here is put aside and written back, so that an older reader still reads the ledger.
    """
    encoded = b'{"signal":{"title":"t","category":"MARITIME"}}'
    event = decode_json(encoded)
    assert event.signal.category == 0
    assert event.unrecognised_json == '{"signal":{"category":"MARITIME"}}'
    assert encode_json(event) == encoded


@pytest.mark.parametrize("sequence", [b"1", b'"1"', b"4294967297", b'"4294967297"', b"18446744073709551615"])
def test_uint64_forms(sequence: bytes) -> None:
    """
    A 64-bit number may be a number or its digits, small as in the oldest records or above 2^53, and loses nothing.
    """
    event = decode_json(b'{"ledger_sequence":%b}' % sequence)
    assert event.ledger_sequence == int(sequence.strip(b'"'))
    assert encode_json(event) == b'{"ledger_sequence":%b}' % sequence.strip(b'"')


def test_null_is_absent() -> None:
    """
    Null for a known key means that it is unset.
    """
    assert decode_json(b'{"signal_id":null,"signal":{"probability":null}}') == decode_json(b'{"signal":{}}')


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"signal_id": 5}, "signal_id"),
        ({"signal": []}, "signal"),
        ({"signal": {"probability": "0.5"}}, "signal.probability"),
        ({"signal": {"probability": True}}, "signal.probability"),
        ({"signal": {"probability_is_estimate": 1}}, "signal.probability_is_estimate"),
        ({"signal": {"category": 1.0}}, "signal.category"),
        ({"signal": {"category": 1 << 31}}, "signal.category"),
        ({"signal": {"context": {"regions": "Red Sea"}}}, "signal.context.regions"),
        ({"signal": {"context": {"regions": ["Red Sea", None]}}}, "signal.context.regions[1]"),
        ({"signal": {"context": {"temporal": {"horizon_days": 3.0}}}}, "signal.context.temporal.horizon_days"),
        ({"signal": {"evidence": [{}, {"url": {}}]}}, "signal.evidence[1].url"),
        ({"signal": {"evidence": [{}, []]}}, "signal.evidence[1]"),
        ({"signal": {"evidence": {"0": {}}}}, "signal.evidence"),
        ({"signal": {"validation": [{"parameters": {"min": "1"}}]}}, "signal.validation[0].parameters.min"),
        ({"signal": {"validation": [{"parameters": [1]}]}}, "signal.validation[0].parameters"),
        ({"signal": {"generated_at": 1769594400}}, "signal.generated_at"),
        ({"ledger_sequence": -1}, "ledger_sequence"),
        ({"ledger_sequence": 1.0}, "ledger_sequence"),
        ({"ledger_sequence": True}, "ledger_sequence"),
        ({"ledger_sequence": "1e3"}, "ledger_sequence"),
        ({"ledger_sequence": "18446744073709551616"}, "ledger_sequence"),
        ({"ledger_sequence": "٣"}, "ledger_sequence"),
    ],
)
def test_wrong_types(record: dict[str, Any], path: str) -> None:
    """
    A value of the wrong type is refused with its path.
    """
    with pytest.raises(CodecError) as refused:
        decode_json(json.dumps(record).encode())
    assert refused.value.path == path


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not(value: float) -> None:
    """
    NaN and infinities are refused with their path and never written.
    """
    event = SignalEvent()
    event.signal.validation.add()
    event.signal.validation.add().parameters["seen"] = value
    for write in (encode_json, content_digest):
        with pytest.raises(CodecError) as refused:
            write(event)
        assert refused.value.path == "signal.validation[1].parameters.seen"
    event.signal.probability = value
    with pytest.raises(CodecError, match=r"signal\.probability"):
        encode_json(event)


def test_time_out_of_range() -> None:
    """
    A Timestamp that is no date is refused with its path.
    """
    event = SignalEvent()
    event.signal.evidence.add().observed_at.seconds = 1 << 40
    with pytest.raises(CodecError) as refused:
        encode_json(event)
    assert refused.value.path == "signal.evidence[0].observed_at"

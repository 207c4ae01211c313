"""
A SignalEvent as a plain JSON object and back, driven by the message's own descriptor.

A field added to the proto is mapped without a line here; one of a kind that has no mapping stops the import.
What a record says that the proto has no place for goes into `unrecognised_json`, an overlay: a JSON object in the
record's own shape, list items by their index as a key (``{"signal":{"evidence":{"0":{"lang":"en"}}}}``).
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, TypeAlias

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.json_values import (
    CodecError,
    canonical,
    read_bool,
    read_double,
    read_int32,
    read_string,
    read_timestamp,
    read_uint64,
    write_double,
    write_timestamp,
    wrong_type,
)

_OVERLAY: Final = "unrecognised_json"


def to_object(event: SignalEvent) -> dict[str, Any]:
    """
    Return the record's JSON object: known keys in the order of the proto's fields, then the unknown ones, sorted.

    That order holds in every object of the record. Protobuf fields without a name here (from a newer sender over gRPC)
    are left out: nothing says what to call them. `-0.0` becomes `0.0`; NaN and infinities are refused.
    Some numbers are `orjson.Fragment`s, so only orjson can write the object.
    """
    event = recognise(event)  # From here on the overlay is in its one form, keys sorted.
    record = _write_message(event)
    overlay = record.pop(_OVERLAY, None)
    if overlay is not None:
        _lay_over(record, _read_overlay(overlay))
    return record


def from_object(record: Any) -> SignalEvent:
    """
    Return the event that a parsed JSON object describes; keys without a place in it go to `unrecognised_json`.
    """
    known, unknown = _read_message(_RECORD, record)
    event = SignalEvent(**known)
    if unknown is not None:
        event.unrecognised_json = orjson.dumps(unknown, option=orjson.OPT_SORT_KEYS).decode()
    return event


def recognise(event: SignalEvent) -> SignalEvent:
    """
    Return the event with all that this version can name moved from `unrecognised_json` to its fields.

    An older reader may have put a key aside that has its field here. One that would say a set field again is refused.
    An event in which nothing is found is returned as it is, with the protobuf fields of a newer sender that it holds.
    """
    if not event.unrecognised_json:
        return event
    record = _write_message(event)
    before = orjson.dumps(record)
    _lay_over(record, _read_overlay(record.pop(_OVERLAY)))
    recognised = from_object(orjson.loads(orjson.dumps(record)))
    return event if orjson.dumps(_write_message(recognised)) == before else recognised


# Writing. `ListFields` names only what is set, in field order, which is just what JSON shall say.


def _write_message(message: Message) -> dict[str, Any]:
    written = {}
    for field, value in message.ListFields():
        name, write = _WRITERS[field]
        if write is None:
            written[name] = value
            continue
        try:
            written[name] = write(value)
        except CodecError as error:
            raise error.under(name) from None
    return written


def _write_messages(messages: Any) -> list[dict[str, Any]]:
    written = []
    for index, message in enumerate(messages):
        try:
            written.append(_write_message(message))
        except CodecError as error:
            raise error.under(index) from None
    return written


_write_strings = itemgetter(slice(None))  # Half the cost of list().


def _write_doubles(numbers: Any) -> dict[str, Any]:
    written = {}
    for key in sorted(numbers):
        try:
            written[key] = write_double(numbers[key])
        except CodecError as error:
            raise error.under(key) from None
    return written


# Reading.

_Reader: TypeAlias = Callable[[Any], tuple[Any, Any]]


def _read_message(readers: dict[str, _Reader], value: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if type(value) is not dict:
        raise wrong_type("an object", value)
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, member in value.items():
        try:
            read = readers.get(key)
            if read is None:
                unknown[key] = canonical(member, 1)
            elif member is not None:
                accepted, left = read(member)
                if accepted is not None:
                    known[key] = accepted
                if left is not None:
                    unknown[key] = left
        except CodecError as error:
            raise error.under(key) from None
    return known, unknown or None


def _read_items(read: _Reader, value: Any) -> tuple[list[Any], dict[str, Any] | None]:
    if type(value) is not list:
        raise wrong_type("a list", value)
    known = []
    unknown = {}
    for index, item in enumerate(value):
        try:
            accepted, left = read(item)
        except CodecError as error:
            raise error.under(index) from None
        known.append(accepted)
        if left is not None:
            unknown[str(index)] = left
    return known, unknown or None


def _read_doubles(value: Any) -> tuple[dict[str, float], None]:
    if type(value) is not dict:
        raise wrong_type("an object", value)
    known = {}
    for key, number in value.items():
        try:
            known[key], _ = read_double(number)
        except CodecError as error:
            raise error.under(key) from None
    return known, None


# The overlay.


def _read_overlay(text: str) -> dict[str, Any]:
    try:
        overlay = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CodecError(_OVERLAY, f"not JSON: {error}") from None
    if type(overlay) is not dict:
        raise wrong_type("an object", overlay).under(_OVERLAY)
    return overlay


def _lay_over(record: dict[str, Any], overlay: dict[str, Any]) -> None:
    for key, laid in overlay.items():
        try:
            if key not in record:
                record[key] = canonical(laid, 1)
            elif type(record[key]) is list:
                _lay_over_items(record[key], laid)
            else:
                _lay_over(*_both_objects(record[key], laid))
        except CodecError as error:
            raise error.under(key) from None


def _lay_over_items(items: list[Any], overlay: Any) -> None:
    indexed = {str(index): item for index, item in enumerate(items)}
    indexed, overlay = _both_objects(indexed, overlay)
    for key, laid in overlay.items():
        try:
            _lay_over(*_both_objects(indexed.get(key), laid))
        except CodecError as error:
            raise error.under(key) from None


def _both_objects(said: Any, laid: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if type(said) is not dict or type(laid) is not dict:
        raise CodecError("", "unrecognised_json does not fit what the fields say")
    return said, laid


# The tables, made once from the descriptors.

_Writer: TypeAlias = Callable[[Any], Any]

_SCALARS: dict[int, tuple[_Writer | None, _Reader]] = {
    FieldDescriptor.TYPE_STRING: (None, read_string),
    FieldDescriptor.TYPE_BOOL: (None, read_bool),
    FieldDescriptor.TYPE_DOUBLE: (write_double, read_double),
    FieldDescriptor.TYPE_UINT64: (None, read_uint64),
    FieldDescriptor.TYPE_INT32: (None, read_int32),
}
_WRITERS: dict[FieldDescriptor, tuple[str, _Writer | None]] = {}


def _readers_of(message: Descriptor) -> dict[str, _Reader]:
    readers = {}
    for field in message.fields:
        write, read = _codec_of(field)
        _WRITERS[field] = (field.name, write)
        readers[field.name] = read
    return readers


def _codec_of(field: FieldDescriptor) -> tuple[_Writer | None, _Reader]:
    codec = _message_codec(field, field.message_type) if field.message_type else _scalar_codec(field)
    if codec is None:
        raise TypeError(f"{field.full_name}: the codec has no JSON for fields of this kind")
    return codec


def _scalar_codec(field: FieldDescriptor) -> tuple[_Writer | None, _Reader] | None:
    if field.is_repeated:
        repeats_strings = field.type == FieldDescriptor.TYPE_STRING
        return (_write_strings, lambda value: _read_items(read_string, value)) if repeats_strings else None
    return _enum_codec(field.enum_type) if field.enum_type else _SCALARS.get(field.type)


def _message_codec(field: FieldDescriptor, kind: Descriptor) -> tuple[_Writer, _Reader] | None:
    if kind.GetOptions().map_entry:
        holds_doubles = kind.fields_by_name["value"].type == FieldDescriptor.TYPE_DOUBLE
        return (_write_doubles, _read_doubles) if holds_doubles else None
    if kind.full_name == "google.protobuf.Timestamp":
        return None if field.is_repeated else (write_timestamp, read_timestamp)
    if kind.file is not SignalEvent.DESCRIPTOR.file:
        return None
    readers = _readers_of(kind)
    if field.is_repeated:
        return _write_messages, lambda value: _read_items(lambda item: _read_message(readers, item), value)
    return _write_message, lambda value: _read_message(readers, value)


def _enum_codec(enum: EnumDescriptor) -> tuple[_Writer, _Reader]:
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {value.number: value.name.removeprefix(prefix) for value in enum.values}
    numbers = {name: number for number, short in names.items() for name in (short, prefix + short)}

    def write(number: int) -> str | int:
        return names.get(number, number)

    def read(value: Any) -> tuple[int | None, str | None]:
        if type(value) is not str:
            return read_int32(value)
        number = numbers.get(value)
        # A name that only a newer writer knows stays in the overlay: refusing it would make the record unreadable.
        return (number, None) if number is not None else (None, value)

    return write, read


_RECORD = _readers_of(SignalEvent.DESCRIPTOR)
# The overlay is written by merging it, and a JSON key of that name is as unknown as any other.
del _RECORD[_OVERLAY]

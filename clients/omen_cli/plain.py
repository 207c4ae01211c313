"""
Any message of the contract as a plain row: numbers as numbers, times as RFC 3339, enums by their short names.
"""

from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from omen_rpc.rfc3339 import write_time


def plain(message: Message) -> dict[str, Any]:
    """
    Return *message* with every scalar it has, set or not; what may be absent and is, is left out.
    """
    row: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        row[field.name] = _value(field, getattr(message, field.name))
    return row


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _one(entry, value[key]) for key in sorted(value)}
    return [_one(field, each) for each in value] if field.is_repeated else _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return write_time(value.seconds, value.nanos)
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, Struct):
        return json_format.MessageToDict(value)
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    return short_name(field.enum_type, value) if field.enum_type is not None else value


def short_name(kind: EnumDescriptor, number: int) -> str | int:
    """
    Return a value's name without what all names of its enum begin with; a number this version has no name for.
    """
    found = kind.values_by_number.get(number)
    if found is None:
        return number
    zero: str = kind.values_by_number[0].name
    name: str = found.name
    return name.removeprefix(zero.removesuffix("UNSPECIFIED"))

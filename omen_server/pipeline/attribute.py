"""
What a raw event says under a key of its own, and when. A value of another type counts as not said.
"""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc.rfc3339 import SECONDS_MAX, SECONDS_MIN, read_time

SECOND_NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_of(raw: RawSignalEvent, key: str) -> float | None:
    """
    Return the number under *key*; it may be NaN or infinite.
    """
    value = raw.attributes.fields.get(key)
    return value.number_value if value is not None and value.WhichOneof("kind") == "number_value" else None


def text_of(raw: RawSignalEvent, key: str) -> str:
    """
    Return the text under *key*, empty where there is none.
    """
    value = raw.attributes.fields.get(key)
    return value.string_value if value is not None else ""


def moment_of(raw: RawSignalEvent, key: str) -> Timestamp | None:
    """
    Return the RFC 3339 time under *key*.
    """
    try:
        seconds, nanos = read_time(text_of(raw, key))
    except ValueError:
        return None
    return Timestamp(seconds=seconds, nanos=nanos)


def field_of(message: Message, name: str) -> float | None:
    """
    Return a scalar field that the message may leave unset.
    """
    return getattr(message, name) if message.HasField(name) else None


def is_said(raw: RawSignalEvent, path: str) -> bool:
    """
    Whether the event says something at a path such as `title`, `market.best_bid` or `attributes.domain`.
    """
    parent, _, name = path.rpartition(".")
    if parent == "attributes":
        value = raw.attributes.fields.get(name)
        return value is not None and value.WhichOneof("kind") not in {None, "null_value"}
    message: Message = getattr(raw, parent) if parent else raw
    field = message.DESCRIPTOR.fields_by_name[name]
    return message.HasField(name) if field.has_presence else bool(getattr(message, name))


def ns_of(time: Timestamp) -> int:
    """
    Return a time as nanoseconds since 1970.
    """
    return time.seconds * SECOND_NS + time.nanos


def ns_of_moment(moment: datetime) -> int:
    """
    Return an aware moment as nanoseconds since 1970; one without a zone is no moment.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no zone")
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000


def is_real(time: Timestamp) -> bool:
    """
    Whether a time lies in the years 0001 to 9999.
    """
    return SECONDS_MIN <= time.seconds <= SECONDS_MAX and 0 <= time.nanos < SECOND_NS

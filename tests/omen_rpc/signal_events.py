"""
Signals for the codec's tests: two fixed records, and every other that Hypothesis can think of; and places to put them.
"""

import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import Position

SECONDS = st.integers(-62_135_596_800, 253_402_300_799)
NANOS = st.one_of(st.just(0), st.integers(0, 999).map(lambda ms: ms * 1_000_000), st.integers(0, 999_999_999))
UINT64 = st.one_of(st.integers(0, 3), st.integers(0, (1 << 64) - 1))
EDGES = [0.0, 5e-324, 1e-5, 9.999e-5, 1e-4, 0.1, 1.0, 1e15, 9999999999999998.0, 1e16, 1e22, 1.7976931348623157e308]
DOUBLES = st.one_of(st.sampled_from(EDGES), st.floats(allow_nan=False, allow_infinity=False))
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=12),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    # -0.0 becomes 0.0 on its way through JSON; a test of its own says so.
    FieldDescriptor.TYPE_DOUBLE: DOUBLES.map(lambda value: value or math.fabs(value)),
    FieldDescriptor.TYPE_UINT64: UINT64,
    FieldDescriptor.TYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 12),
}
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | SCALARS[FieldDescriptor.TYPE_DOUBLE]
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _of_field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is None:
        one = SCALARS[field.type]
        return st.lists(one, max_size=3) if field.is_repeated else one
    if kind.GetOptions().map_entry:
        return st.dictionaries(st.text(max_size=8), SCALARS[kind.fields_by_name["value"].type], max_size=4)
    one = _of_message(kind)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _of_message(message: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    if message.full_name == "google.protobuf.Timestamp":
        return st.fixed_dictionaries({"seconds": SECONDS, "nanos": NANOS})
    fields = {field.name: _of_field(field) for field in message.fields if field.name != "unrecognised_json"}
    return st.fixed_dictionaries({}, optional=fields)


EVENTS = _of_message(SignalEvent.DESCRIPTOR).map(lambda fields: SignalEvent(**fields))
POSITIVE = st.integers(1, (1 << 64) - 1)
POSITIONS = st.builds(
    Position,
    partition=st.sampled_from(["2026-01-28", "2026-01-28-late"]),
    sequence=POSITIVE,
    index=POSITIVE,
    offset=POSITIVE,
    durable_offset=UINT64,
    written_at=st.builds(lambda seconds, nanos: seconds * 1_000_000_000 + nanos, SECONDS, NANOS),
)

HERE = Position(
    partition="2026-01-28",
    sequence=(1 << 32) + 1,
    index=1,
    offset=1,
    durable_offset=0,
    written_at=1_769_594_405_123_456_789,
)

RED_SEA = b"""{
  "schema_version": "1.0.0",
  "signal_id": "OMEN-DEMO001ABCD",
  "deterministic_trace_id": "a1b2c3d4e5f6g7h8",
  "input_event_hash": "sha256:abc123",
  "source_event_id": "evt-001",
  "ruleset_version": "1.0.0",
  "observed_at": "2026-01-28T10:00:00+00:00",
  "emitted_at": "2026-01-28T10:00:05+00:00",
  "ledger_written_at": "2026-01-28T10:00:05+00:00",
  "ledger_partition": "2026-01-28",
  "ledger_sequence": 1,
  "signal": {
    "signal_id": "OMEN-DEMO001ABCD",
    "source_event_id": "evt-001",
    "title": "Red Sea transit disruption",
    "probability": 0.72,
    "confidence_score": 0.85,
    "confidence_level": "HIGH",
    "category": "GEOPOLITICAL",
    "trace_id": "a1b2c3d4e5f6g7h8",
    "ruleset_version": "1.0.0",
    "generated_at": "2026-01-28T10:00:05+00:00"
  }
}"""
RED_SEA_CANONICAL = (
    b'{"schema_version":"1.0.0","signal_id":"OMEN-DEMO001ABCD","deterministic_trace_id":"a1b2c3d4e5f6g7h8",'
    b'"input_event_hash":"sha256:abc123","source_event_id":"evt-001","ruleset_version":"1.0.0",'
    b'"observed_at":"2026-01-28T10:00:00Z","emitted_at":"2026-01-28T10:00:05Z",'
    b'"ledger_written_at":"2026-01-28T10:00:05Z","ledger_partition":"2026-01-28","ledger_sequence":1,'
    b'"signal":{"signal_id":"OMEN-DEMO001ABCD","source_event_id":"evt-001","title":"Red Sea transit disruption",'
    b'"probability":0.72,"confidence_score":0.85,"confidence_level":"HIGH","category":"GEOPOLITICAL",'
    b'"trace_id":"a1b2c3d4e5f6g7h8","ruleset_version":"1.0.0","generated_at":"2026-01-28T10:00:05Z"}}'
)

LATE_PORT = b"""{
  "schema_version": "1.0.0",
  "signal_id": "OMEN-DEMO008LATE",
  "deterministic_trace_id": "c3d4e5f6g7h8i9j0",
  "input_event_hash": "sha256:late001",
  "source_event_id": "evt-008",
  "ruleset_version": "1.0.0",
  "observed_at": "2026-01-27T23:50:00+00:00",
  "emitted_at": "2026-01-29T02:00:00+00:00",
  "ledger_partition": "2026-01-28-late",
  "ledger_sequence": 1,
  "signal": {
    "signal_id": "OMEN-DEMO008LATE",
    "source_event_id": "evt-008",
    "title": "Late report: port closure",
    "probability": 0.6,
    "confidence_score": 0.65,
    "confidence_level": "MEDIUM",
    "category": "GEOPOLITICAL",
    "trace_id": "c3d4e5f6g7h8i9j0",
    "ruleset_version": "1.0.0",
    "generated_at": "2026-01-29T02:00:00+00:00"
  }
}"""
LATE_PORT_CANONICAL = (
    b'{"schema_version":"1.0.0","signal_id":"OMEN-DEMO008LATE","deterministic_trace_id":"c3d4e5f6g7h8i9j0",'
    b'"input_event_hash":"sha256:late001","source_event_id":"evt-008","ruleset_version":"1.0.0",'
    b'"observed_at":"2026-01-27T23:50:00Z","emitted_at":"2026-01-29T02:00:00Z",'
    b'"ledger_partition":"2026-01-28-late","ledger_sequence":1,'
    b'"signal":{"signal_id":"OMEN-DEMO008LATE","source_event_id":"evt-008","title":"Late report: port closure",'
    b'"probability":0.6,"confidence_score":0.65,"confidence_level":"MEDIUM","category":"GEOPOLITICAL",'
    b'"trace_id":"c3d4e5f6g7h8i9j0","ruleset_version":"1.0.0","generated_at":"2026-01-29T02:00:00Z"}}'
)


def at(event: SignalEvent, position: Position) -> SignalEvent:
    """
    Return a copy of the event with the position in its fields.
    """
    seconds, nanos = divmod(position.written_at, 1_000_000_000)
    stamped = SignalEvent()
    stamped.CopyFrom(event)
    stamped.ledger_written_at.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    stamped.ledger_partition = position.partition
    stamped.ledger_sequence = position.sequence
    stamped.ledger_index = position.index
    stamped.ledger_offset = position.offset
    stamped.ledger_durable_offset = position.durable_offset
    return stamped

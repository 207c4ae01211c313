"""
Who a signal is: its ids follow from the raw event and the ruleset, from no clock and from nothing else.

    input_event_hash = "sha256:" + SHA-256(canonical JSON of what identifies the raw event)
    trace id         = SHA-256("source_event_id|input_event_hash|ruleset_version"), its first 16 hex digits
    signal id        = "OMEN-" + the trace id's first 12 digits, in capitals

What identifies a raw event: `source`, `source_event_id`, `title`, `description`, `probability`, every field of `market`
and of `location`, and the `attributes`: what it is, and what it says. A changed price is another signal.
What does not: `observed_at` and `fetched_at`, and the attributes that only repeat them (the same market seen twice is
the same), `provenance`, `licence` and `url` (how it came here is no part of what it says).
"""

import hashlib
import re
from math import isfinite
from typing import Any, Final

import orjson
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import RawSignalEvent, SignalEvent
from omen.v1.signal_service_pb2 import VerifySignalResponse
from omen_rpc.json_values import write_double
from omen_rpc.signal_codec import CodecError, content_digest

HASHED: Final = ("source", "source_event_id", "title", "description", "probability", "market", "location", "attributes")
NOT_HASHED: Final = ("observed_at", "fetched_at", "provenance", "licence", "url")
# Attributes that say when a source was looked at, and nothing of what was seen.
NOT_HASHED_ATTRIBUTES: Final = frozenset({"fetched_at", "observed_at", "seen_at", "updated_at"})

_MINTED_ID = re.compile(r"OMEN-[0-9A-F]{12}")
_MINTED_TRACE = re.compile(r"[0-9a-f]{16}")
_MINTED_RULESET = re.compile(r"[0-9A-Za-z.\-]+\+[0-9a-f]{12}")


def input_event_hash(raw: RawSignalEvent) -> str:
    """
    Return ``sha256:`` and the hash of what identifies a raw event; see the module's text.

    The order of keys makes no difference, unset is other than 0, -0.0 is 0.0. Never fails, also not for nonsense.
    """
    hashed = {field.name: _written(value) for field, value in raw.ListFields() if field.name in HASHED}
    if "attributes" in hashed:
        attributes = {key: value for key, value in hashed["attributes"].items() if key not in NOT_HASHED_ATTRIBUTES}
        hashed["attributes"] = attributes
        if not attributes:
            del hashed["attributes"]
    return "sha256:" + hashlib.sha256(orjson.dumps(hashed, option=orjson.OPT_SORT_KEYS)).hexdigest()


def trace_id(source_event_id: str, input_hash: str, ruleset_version: str) -> str:
    """
    Return the trace id that follows from the three.
    """
    return hashlib.sha256(f"{source_event_id}|{input_hash}|{ruleset_version}".encode()).hexdigest()[:16]


def signal_id(trace: str) -> str:
    """
    Return the signal id that follows from a trace id.
    """
    return f"OMEN-{trace[:12].upper()}"


def verify(event: SignalEvent) -> VerifySignalResponse:
    """
    Derive ids and digest again from the envelope and tell what differs, a sentence each.

    An id is taken for minted if it follows from the envelope, or if id, trace id and ruleset version look as OMEN makes
    them. An upstream's own id has no derivation to check; of such a signal only the digest and the mirrored ids are.
    """
    trace = trace_id(event.source_event_id, event.input_event_hash, event.ruleset_version)
    answer = VerifySignalResponse(expected_trace_id=trace, expected_signal_id=signal_id(trace), event=event)
    derived = event.signal_id == answer.expected_signal_id and event.deterministic_trace_id == trace
    answer.minted = derived or _looks_minted(event)
    pairs = [
        ("signal.signal_id", event.signal.signal_id, event.signal_id),
        ("signal.source_event_id", event.signal.source_event_id, event.source_event_id),
        ("signal.trace_id", event.signal.trace_id, event.deterministic_trace_id),
        ("signal.ruleset_version", event.signal.ruleset_version, event.ruleset_version),
    ]
    # An upstream may leave the mirrors of its envelope empty; OMEN never does.
    pairs = [pair for pair in pairs if pair[1] or answer.minted]
    if answer.minted:
        pairs.append(("signal_id", event.signal_id, answer.expected_signal_id))
        pairs.append(("deterministic_trace_id", event.deterministic_trace_id, trace))
    answer.differences.extend(
        f"{name} is {is_!r}, not {expected!r}" for name, is_, expected in pairs if is_ != expected
    )
    _verify_digest(event, answer)
    answer.matches = not answer.differences
    return answer


def _verify_digest(event: SignalEvent, answer: VerifySignalResponse) -> None:
    try:
        answer.expected_content_digest = content_digest(event)
    except CodecError as error:
        answer.differences.append(f"The content has no digest: {error}")
        return
    if event.content_digest != answer.expected_content_digest:
        answer.differences.append(f"content_digest is {event.content_digest!r}, not {answer.expected_content_digest!r}")


def _looks_minted(event: SignalEvent) -> bool:
    return bool(
        _MINTED_ID.fullmatch(event.signal_id)
        and _MINTED_TRACE.fullmatch(event.deterministic_trace_id)
        and _MINTED_RULESET.fullmatch(event.ruleset_version)
    )


def _written(value: Any) -> Any:
    if isinstance(value, float):
        # No number of JSON; the event will be refused, but it is counted and kept by this hash all the same.
        return write_double(value) if isfinite(value) else str(value)
    if isinstance(value, Value):
        return _value_written(value)
    if isinstance(value, Timestamp):
        return [value.seconds, value.nanos]
    if not isinstance(value, Message):
        return value if isinstance(value, str | int) else [_written(item) for item in value]
    if value.DESCRIPTOR.full_name == "google.protobuf.Struct":
        return {key: _value_written(value.fields[key]) for key in value.fields}  # type: ignore[attr-defined]
    return {field.name: _written(member) for field, member in value.ListFields()}


def _value_written(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _written(value.struct_value)
        case "list_value":
            return [_value_written(item) for item in value.list_value.values]
        case "number_value":
            return _written(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None

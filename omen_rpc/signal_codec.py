"""
The bytes of a signal: the ledger's JSON and protobuf payloads, the content's digest, the position's hash.

Whoever must agree to the bit with another process takes it from here. A payload says by its first byte what it is:

    {"schema_version":…,"emitted_at":…,   "ledger_written_at":…,"ledger_offset":…   ,"content_digest":…,"signal":{…}}
    └────────────── head ──────────────┘  └──────────────── stamp ───────────────┘  └────────────── tail ───────────┘

    4A …  stamp (fields 9 to 14; 9 is never absent)   │  the other fields, serialised deterministically

The stamp is what the ledger's writer alone knows. Everything else is encoded before the record reaches its thread.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

import orjson
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.json_values import UNKNOWN_DEPTH_MAX, CodecError
from omen_rpc.position import (
    BLOCK_POSITIONS,
    Position,
    block_of,
    fold,
    from_int64,
    position_hash,
    to_int64,
)
from omen_rpc.rfc3339 import read_time, write_time
from omen_rpc.signal_json import from_object, recognise, to_object

__all__ = [
    "BLOCK_POSITIONS",
    "RECORD_BYTES_MAX",
    "SIGNAL_BYTES_MAX",
    "STAMP_BYTES_MAX",
    "UNKNOWN_DEPTH_MAX",
    "CodecError",
    "PayloadKind",
    "Position",
    "Prepared",
    "block_of",
    "content_digest",
    "decode",
    "decode_json",
    "digest_and_prepare",
    "encode_json",
    "fold",
    "from_int64",
    "position_hash",
    "position_of",
    "prepare",
    "recognise",
    "to_int64",
]

RECORD_BYTES_MAX: Final = 1 << 20
SIGNAL_BYTES_MAX: Final = 256 << 10
STAMP_BYTES_MAX: Final = 320  # The longest stamp, in JSON, is 269 bytes.

PayloadKind = Literal["json", "protobuf"]

_LEDGER = "ledger_"
_HEAD_KEYS = (
    "schema_version",
    "signal_id",
    "deterministic_trace_id",
    "input_event_hash",
    "source_event_id",
    "ruleset_version",
    "observed_at",
    "emitted_at",
)
_NOT_CONTENT = ("content_digest", "emitted_at", "trace_parent")


def encode_json(event: SignalEvent) -> bytes:
    """
    Return the record's canonical JSON: the same message gives the same bytes, in any process, for ever.

    Keys come in the order of the proto's fields, unknown ones after them, sorted; see `signal_json`.
    """
    return _checked_size(orjson.dumps(to_object(event)))


def decode_json(data: bytes) -> SignalEvent:
    """
    Return the event that a JSON record describes. Encoding it again gives the same bytes if they were canonical.

    Keys without a field, and enum names without a number, are kept in `unrecognised_json`.
    """
    try:
        return from_object(orjson.loads(_checked_size(data)))
    except orjson.JSONDecodeError as error:
        raise CodecError("", f"not JSON: {error}") from None


def decode(payload: bytes) -> SignalEvent:
    """
    Return the event of a ledger record, whether its payload is JSON or protobuf.
    """
    if payload[:1] == b"{":
        return decode_json(payload)
    return recognise(_parse(payload))


def content_digest(event: SignalEvent) -> str:
    """
    Return ``sha256:`` and the hash of the content, which is what two senders of one signal must agree on.

    Content is the canonical JSON with the keys of every object sorted by code point, without `content_digest`,
    `emitted_at`, `trace_parent`, every `ledger_…` key, and the signal's `generated_at`. Doubles are written as
    Python's repr writes them and text unescaped, so ``json.dumps(…, sort_keys=True, ensure_ascii=False)`` agrees.
    """
    return _digest(to_object(event))


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    A record that lacks only its position. Made by `prepare`, outside of the writer's thread.
    """

    kind: PayloadKind
    head: bytes
    tail: bytes

    @property
    def size_max(self) -> int:
        """
        The most bytes that the stamped payload can have.
        """
        return len(self.head) + STAMP_BYTES_MAX + len(self.tail)

    def stamp(self, position: Position) -> bytes:
        """
        Return the payload as it lies in the ledger. Cheap, and cannot fail: all checks were made before.
        """
        if self.kind == "json":
            return self.head + _json_stamp(position) + self.tail
        return _protobuf_stamp(position) + self.tail


def prepare(event: SignalEvent, kind: PayloadKind) -> Prepared:
    """
    Encode all of the event but what the ledger alone may say; `ledger_…` fields and keys of the sender are dropped.
    """
    return _checked(_prepare_json(to_object(event)) if kind == "json" else _prepare_protobuf(event))


def digest_and_prepare(event: SignalEvent, kind: PayloadKind) -> Prepared:
    """
    Set the event's `content_digest`, then prepare it: both from one walk over the message, the dearest part of either.
    """
    record = to_object(event)
    event.content_digest = record["content_digest"] = _digest(record)
    return _checked(_prepare_json(record) if kind == "json" else _prepare_protobuf(event))


def position_of(payload: bytes) -> Position | None:
    """
    Return the position that a payload was stamped with, or None if it is no record of a ledger of ours.

    Of JSON in our own order only the head is read: the caller has checked the frame's CRC. Any other order is decoded.
    """
    try:
        if payload[:1] != b"{":
            return _position(_parse(payload))
        found = _STAMPED(_checked_size(payload))
        if found is None or payload[-1:] != b"}":
            return _position(decode_json(payload))
        written_at, partition, sequence, index, offset, durable = found.groups()
        seconds, nanos = read_time(written_at.decode())
        return Position(
            partition=partition.decode(),
            sequence=int(sequence),
            index=int(index),
            offset=int(offset),
            durable_offset=int(durable or 0),
            written_at=seconds * 1_000_000_000 + nanos,
        )
    except ValueError:
        return None


# From the first byte on, only keys that come before the stamp, each with a string, then the stamp itself. No text can
# pass for it: inside a string a quote has its backslash. What is matched once is never tried again (the `+`).
_STAMPED = re.compile(
    rb'\{(?:"(?:%b)":"(?:[^"\\]++|\\.)*+",)*+' % "|".join(_HEAD_KEYS).encode()
    + rb'"ledger_written_at":"([^"\\]{20,30})","ledger_partition":"([^"\\]{10,15})"'
    + rb',"ledger_sequence":([1-9][0-9]{0,19}),"ledger_index":([1-9][0-9]{0,19}),"ledger_offset":([1-9][0-9]{0,19})'
    + rb'(?:,"ledger_durable_offset":([1-9][0-9]{0,19}))?+[,}]'
).match


def _position(event: SignalEvent) -> Position | None:
    if not event.HasField("ledger_written_at"):
        return None
    written_at = event.ledger_written_at
    return Position(
        partition=event.ledger_partition,
        sequence=event.ledger_sequence,
        index=event.ledger_index,
        offset=event.ledger_offset,
        durable_offset=event.ledger_durable_offset,
        written_at=written_at.seconds * 1_000_000_000 + written_at.nanos,
    )


def _digest(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key not in _NOT_CONTENT and not key.startswith(_LEDGER)}
    if "signal" in content:
        content["signal"] = {key: value for key, value in content["signal"].items() if key != "generated_at"}
    return "sha256:" + sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _prepare_json(record: dict[str, Any]) -> Prepared:
    before = {key: record[key] for key in _HEAD_KEYS if key in record}
    after = {"content_digest": record["content_digest"]} if "content_digest" in record else {}
    after.update((key, value) for key, value in record.items() if key not in before and not key.startswith(_LEDGER))
    return Prepared(
        kind="json",
        head=orjson.dumps(before)[:-1] + b"," if before else b"{",
        tail=b"," + orjson.dumps(after)[1:] if after else b"}",
    )


def _json_stamp(position: Position) -> bytes:
    seconds, nanos = divmod(position.written_at, 1_000_000_000)
    stamp: dict[str, Any] = {
        "ledger_written_at": write_time(seconds, nanos),
        "ledger_partition": position.partition,
        "ledger_sequence": position.sequence,
        "ledger_index": position.index,
        "ledger_offset": position.offset,
    }
    if position.durable_offset:
        stamp["ledger_durable_offset"] = position.durable_offset
    return orjson.dumps(stamp)[1:-1]


def _prepare_protobuf(event: SignalEvent) -> Prepared:
    kept = SignalEvent()
    kept.CopyFrom(recognise(event))
    kept.ClearField("ledger_written_at")
    kept.ClearField("ledger_partition")
    kept.ClearField("ledger_sequence")
    kept.ClearField("ledger_index")
    kept.ClearField("ledger_offset")
    kept.ClearField("ledger_durable_offset")
    if kept.unrecognised_json:
        overlay = orjson.loads(kept.unrecognised_json)
        others = {key: value for key, value in overlay.items() if not key.startswith(_LEDGER)}
        kept.unrecognised_json = orjson.dumps(others).decode() if others else ""
    return Prepared(kind="protobuf", head=b"", tail=kept.SerializeToString(deterministic=True))


def _protobuf_stamp(position: Position) -> bytes:
    # Parsing two messages one after the other merges them, and the tail has none of these fields.
    seconds, nanos = divmod(position.written_at, 1_000_000_000)
    return SignalEvent(
        ledger_written_at=Timestamp(seconds=seconds, nanos=nanos),
        ledger_partition=position.partition,
        ledger_sequence=position.sequence,
        ledger_index=position.index,
        ledger_offset=position.offset,
        ledger_durable_offset=position.durable_offset,
    ).SerializeToString()


def _parse(payload: bytes) -> SignalEvent:
    if not _checked_size(payload):
        raise CodecError("", "empty")
    try:
        return SignalEvent.FromString(payload)
    except DecodeError as error:
        raise CodecError("", f"not a SignalEvent: {error}") from None


def _checked(prepared: Prepared) -> Prepared:
    if prepared.size_max > RECORD_BYTES_MAX:
        raise _too_large(prepared.size_max)
    return prepared


def _checked_size(data: bytes) -> bytes:
    if len(data) > RECORD_BYTES_MAX:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> CodecError:
    return CodecError("", f"{size} bytes; a record has at most {RECORD_BYTES_MAX}")

"""
Records as bytes: reading either kind, the digest, and the stamp of a position.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import (
    RECORD_BYTES_MAX,
    STAMP_BYTES_MAX,
    CodecError,
    PayloadKind,
    Position,
    content_digest,
    decode,
    decode_json,
    digest_and_prepare,
    encode_json,
    position_of,
    prepare,
)
from tests.omen_rpc.signal_events import (
    EVENTS,
    HERE,
    LATE_PORT,
    LATE_PORT_CANONICAL,
    POSITIONS,
    RED_SEA,
    RED_SEA_CANONICAL,
    at,
)

KINDS: list[PayloadKind] = ["json", "protobuf"]


@pytest.mark.parametrize(
    ("record", "canonical", "digest"),
    [
        (RED_SEA, RED_SEA_CANONICAL, "sha256:56757a0f2a1a497e5aa4a817855a16b8a6c733602b377f6b5f75e0c53228501b"),
        (LATE_PORT, LATE_PORT_CANONICAL, "sha256:09274093d294c61909833bd5c9e74a2051b567225706e4b8d6c636d2083dca96"),
    ],
    ids=["red sea", "late port"],
)
def test_golden(record: bytes, canonical: bytes, digest: str) -> None:
    """
    The two sample records have these canonical bytes and these digests, for ever.
    """
    event = decode(record)
    assert encode_json(event) == canonical
    assert content_digest(event) == digest
    assert decode(canonical) == event


def test_signal_event_naive_datetime_raises() -> None:
    """
    A time without Z or an offset is refused, and the error names its field.
    """
    with pytest.raises(CodecError, match="needs Z or an offset") as refused:
        decode_json(
            RED_SEA.replace(b'"generated_at": "2026-01-28T10:00:05+00:00"', b'"generated_at": "2026-01-28T10:00:05"')
        )
    assert refused.value.path == "signal.generated_at"


def test_signal_event_json_z_suffix_timezone_aware() -> None:
    """
    Z, +00:00 and any other offset are read as the same moment, and written with Z.
    """
    with_z = decode_json(RED_SEA.replace(b"+00:00", b"Z"))
    assert with_z == decode_json(RED_SEA)
    assert with_z == decode_json(RED_SEA.replace(b"T10:00:05+00:00", b"T12:00:05+02:00"))
    assert with_z.emitted_at.seconds == 1769594405
    assert b"+00:00" not in encode_json(with_z)


@pytest.mark.parametrize("payload", [b"", b"{", b"{}x", b'{"a":NaN}', b'{"a":"\xff"}', b"hello", b"\x0a\xff", b"[]"])
def test_not_a_record(payload: bytes) -> None:
    """
    Bytes that are neither JSON nor protobuf of a signal are refused with the codec's own error.
    """
    with pytest.raises(CodecError):
        decode(payload)
    assert position_of(payload) is None


@pytest.mark.parametrize("read", [decode, decode_json])
def test_record_too_large(read: Any) -> None:
    """
    No more than 1 MiB is looked at, and none is written.
    """
    event = SignalEvent()
    event.signal.description = "d" * (RECORD_BYTES_MAX - len('{"signal":{"description":""}}'))
    payload = encode_json(event)
    assert len(payload) == RECORD_BYTES_MAX
    assert read(payload) == event
    for refused in (lambda: read(payload + b" "), lambda: prepare(event, "json"), lambda: prepare(event, "protobuf")):
        with pytest.raises(CodecError, match="1048576"):
            refused()
    event.signal.title = "t"
    with pytest.raises(CodecError, match="1048576"):
        encode_json(event)
    assert position_of(event.SerializeToString() * 2) is None


def test_protobuf_record_of_an_older_reader() -> None:
    """
    What an older version put aside and stored as protobuf is read into the fields it has here.
    """
    event = decode(SignalEvent(unrecognised_json='{"x":1,"trace_parent":"00-aa-bb-01"}').SerializeToString())
    assert event == SignalEvent(trace_parent="00-aa-bb-01", unrecognised_json='{"x":1}')


# The digest.


@given(EVENTS)
def test_digest_is_what_the_standard_library_computes(event: SignalEvent) -> None:
    """
    The digest needs no code of ours: sorted keys, json.dumps, SHA-256.
    """
    record = json.loads(encode_json(event))
    content = {k: v for k, v in record.items() if not k.startswith("ledger_")}
    for key in ("content_digest", "emitted_at", "trace_parent"):
        content.pop(key, None)
    content.get("signal", {}).pop("generated_at", None)
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert content_digest(event) == "sha256:" + sha256(canonical).hexdigest()


@given(EVENTS, POSITIONS)
def test_digest_by_either_route(event: SignalEvent, position: Position) -> None:
    """
    An event has one digest, whether it went through JSON or protobuf, and wherever the ledger put it.
    """
    digest = content_digest(event)
    for kind in KINDS:
        assert content_digest(decode(prepare(event, kind).stamp(position))) == digest


NOT_CONTENT = {"content_digest", "emitted_at", "trace_parent", "unrecognised_json"}


@pytest.mark.parametrize("name", [field.name for field in SignalEvent.DESCRIPTOR.fields])
def test_digest_covers(name: str) -> None:
    """
    Every field of the envelope is content, but those that say when, how and where it was sent.
    """
    event = decode(RED_SEA)
    digest = content_digest(event)
    event.ClearField(name)  # type: ignore[arg-type]  # The stubs want literals.
    if name in NOT_CONTENT or name.startswith("ledger_"):
        assert content_digest(event) == digest
    elif event != decode(RED_SEA):
        assert content_digest(event) != digest


def test_digest_of_times_and_unknown_keys() -> None:
    """
    The time of making is no content; an unknown key is, unless it is the ledger's.
    """
    event = decode(RED_SEA)
    digest = content_digest(event)
    event.signal.generated_at.seconds += 1
    event.emitted_at.seconds += 1
    event.trace_parent = "00-aa-bb-01"
    event.content_digest = "sha256:forged"
    event.ledger_offset = 9
    event.unrecognised_json = '{"ledger_epoch":3}'
    assert content_digest(event) == digest
    event.unrecognised_json = '{"epoch":3}'
    assert content_digest(event) != digest


def test_digest_of_minus_zero() -> None:
    """
    Minus zero is zero, or one signal would have two digests.
    """
    events = [decode(RED_SEA), decode(RED_SEA)]
    for event, zero in zip(events, (0.0, -0.0), strict=True):
        event.signal.probability = zero
    assert content_digest(events[0]) == content_digest(events[1])


# Stamping.


@given(EVENTS, POSITIONS)
def test_json_stamp_is_the_full_encoding(event: SignalEvent, position: Position) -> None:
    """
    A stamped JSON record is, byte for byte, what encoding the complete event gives.
    """
    assert prepare(event, "json").stamp(position) == encode_json(at(event, position))


@given(EVENTS, POSITIONS)
def test_protobuf_stamp_parses_to_the_full_event(event: SignalEvent, position: Position) -> None:
    """
    A stamped protobuf record is read as the complete event, and never as JSON.
    """
    payload = prepare(event, "protobuf").stamp(position)
    assert payload[:1] != b"{"
    assert decode(payload) == at(event, position)


@given(EVENTS, POSITIONS, st.sampled_from(KINDS))
def test_position_comes_back(event: SignalEvent, position: Position, kind: PayloadKind) -> None:
    """
    The position is read back from any record, and no record is larger than was said before.
    """
    prepared = prepare(event, kind)
    assert position_of(prepared.stamp(position)) == position
    assert len(prepared.stamp(position)) <= prepared.size_max


@pytest.mark.parametrize("kind", KINDS)
def test_longest_stamp(kind: PayloadKind) -> None:
    """
    The longest position there is fits into the room that is kept for it.
    """
    most = (1 << 64) - 1
    position = Position("2026-01-28-late", most, most, most, most, 253_402_300_799_999_999_999)
    assert len(prepare(SignalEvent(), kind).stamp(position)) <= STAMP_BYTES_MAX


@pytest.mark.parametrize("kind", KINDS)
def test_forged_ledger_fields_are_dropped(kind: PayloadKind) -> None:
    """
    What a sender says in ledger_… is gone, in the fields and in unknown keys; other unknown keys stay.
    """
    forged = at(decode(RED_SEA), Position("1999-12-31", 7, 7, 7, 7, 7))
    forged.unrecognised_json = '{"ledger_epoch":7,"x":1}'
    expected = at(decode(RED_SEA), HERE)
    expected.unrecognised_json = '{"x":1}'
    assert decode(prepare(forged, kind).stamp(HERE)) == expected
    forged.unrecognised_json = '{"ledger_epoch":7}'
    assert prepare(forged, kind) == prepare(decode(RED_SEA), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_ledger_field_is_stamped(kind: PayloadKind) -> None:
    """
    A stamp sets each ledger_… field of the proto, also one added tomorrow.
    """
    event = decode(prepare(SignalEvent(), kind).stamp(replace(HERE, durable_offset=4)))
    names = {field.name for field in SignalEvent.DESCRIPTOR.fields if field.name.startswith("ledger_")}
    assert {field.name for field, _ in event.ListFields()} == names


@given(EVENTS, st.sampled_from(KINDS))
def test_digest_and_prepare(event: SignalEvent, kind: PayloadKind) -> None:
    """
    Computing the digest on the way gives the same record as computing it before.
    """
    apart = SignalEvent()
    apart.CopyFrom(event)
    apart.content_digest = content_digest(event)
    assert digest_and_prepare(event, kind) == prepare(apart, kind)
    assert event == apart


@pytest.mark.parametrize("kind", KINDS)
def test_preparing_leaves_the_event_alone(kind: PayloadKind) -> None:
    """
    The event that was prepared still says what its sender said.
    """
    event = decode(RED_SEA)
    prepare(event, kind)
    assert event == decode(RED_SEA)


def test_hostile_protobuf_is_not_taken_for_json() -> None:
    """
    A message whose first byte would be a brace does not become JSON by being stored.
    """
    brace = SignalEvent.FromString(b"{|")  # An unknown group with the number of a field.
    assert brace.SerializeToString()[:1] == b"{"
    assert position_of(prepare(brace, "protobuf").stamp(HERE)) == HERE


@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes) -> None:
    """
    Whatever the bytes, the answer is an event, a position or the codec's own error.
    """
    try:
        decode(payload)
    except CodecError:
        assert position_of(payload) is None


SCRIPT = """
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import content_digest, encode_json, prepare
event = SignalEvent(signal_id="OMEN-DEMO001ABCD", unrecognised_json='{"b":{"z":1,"y":2},"a":1}')
verdict = event.signal.validation.add()
for key in ("liquidity", "volume", "spread", "depth", "age", "traders", "Ü", "z", "a"):
    verdict.parameters[key] = 0.5
print(encode_json(event).hex(), content_digest(event), prepare(event, "protobuf").tail.hex())
"""


def test_bytes_do_not_depend_on_the_process() -> None:
    """
    Two processes with other hash seeds write the same bytes, maps included.
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1

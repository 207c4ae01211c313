"""
The quick look at a signal, held to the rules it stands for.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_rules import check_event
from omen_rpc.signal_sieve import passes
from tests.omen_rpc.signal_events import EVENTS

Steps = tuple[tuple[str, int | None], ...]

HEX = "0123456789abcdef"
LENGTHS = (1, 200, 201, 500, 501, 2_000, 2_001, 10_000, 10_001)
TEXTS = (
    *("", "OMEN-OTHER", "OMEN-low", "é", "ÖMEN-TEST", HEX, HEX.upper(), f"sha256:{HEX}", f"sha256:{HEX * 4}"),
    *("2026-01-29", "2026-02-30", "2026-01-28-late", "1.0.1"),
    *(f"a{odd}b" for odd in "\0\n\t\x7f\x85\u2028\u200b\xa0"),
    *("x" * length for length in LENGTHS),
)
NUMBERS = (math.nan, math.inf, -math.inf, -0.0, -0.1, 0.0, 0.4, 0.6, 0.9, 1.0, 1.0000001, 1e308, 5e-324)
WHOLE = (0, 1, -1, 999_999_999, 1_000_000_000, -62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800)
LARGE = (0, 1, 1 << 62, (1 << 62) + 1, (1 << 64) - 1)
VALUES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_DOUBLE: NUMBERS,
    FieldDescriptor.TYPE_INT32: (0, 1, -1, 999_999_999, 1_000_000_000),
    FieldDescriptor.TYPE_INT64: WHOLE,
    FieldDescriptor.TYPE_UINT64: LARGE,
    FieldDescriptor.TYPE_ENUM: (0, 1, 2, 3, 99),
    FieldDescriptor.TYPE_BOOL: (False, True),
}


def whole() -> SignalEvent:
    """
    Return a signal in which every field that the rules look at is set, and rightly.
    """
    event = SignalEvent(
        schema_version="1.0.0",
        signal_id="OMEN-TEST000001",
        deterministic_trace_id=HEX,
        input_event_hash=f"sha256:{HEX}",
        source_event_id="event 1",
        ruleset_version="1.0.0",
        ledger_partition="2026-01-28",
        ledger_sequence=1,
        ledger_index=1,
        content_digest=f"sha256:{HEX * 4}",
        signal=signal_pb2.OmenSignal(
            signal_id="OMEN-TEST000001",
            source_event_id="event 1",
            title="Red Sea transit disruption",
            description="A longer text.",
            probability=0.72,
            confidence_score=0.85,
            confidence_level=signal_pb2.CONFIDENCE_LEVEL_HIGH,
            confidence_half_width=0.1,
            category=signal_pb2.SIGNAL_CATEGORY_GEOPOLITICAL,
            trace_id=HEX,
            ruleset_version="1.0.0",
            routing_hints=["desk"],
            evidence=[signal_pb2.Evidence(source="reuters", url="https://example.com/1")],
            validation=[signal_pb2.RuleVerdict(name="liquidity", score=0.9, parameters={"seen": 25400.5})],
        ),
    )
    for name in ("regions", "chokepoints", "countries", "keywords", "flags"):
        getattr(event.signal.context, name).append("RED_SEA")
    evidence = event.signal.evidence[0]
    times = (event.emitted_at, event.observed_at, event.ledger_written_at, event.signal.generated_at)
    for at in (*times, evidence.observed_at, evidence.fetched_at):
        at.seconds = 1_769_594_405
    return event


def bare() -> SignalEvent:
    """
    Return a signal that says nothing twice and has one list of one thing.
    """
    event = whole()
    for name in ("source_event_id", "trace_id", "ruleset_version", "routing_hints", "evidence", "context"):
        event.signal.ClearField(name)
    return event


def changed(event: SignalEvent) -> Iterator[tuple[str, SignalEvent]]:
    """
    Yield copies of *event* with one change each: every field, each odd value of its kind, gone, and far too often.
    """
    for steps, field in fields(event, ()):
        path = ".".join(name if at is None else f"{name}[{at}]" for name, at in (*steps, (field.name, None)))
        yield f"no {path}", change(event, steps, field, None)
        for value in VALUES.get(field.type, ()) if not is_map(field) else NUMBERS:
            yield f"{path} = {value!r:.40}", change(event, steps, field, value)
        if field.is_repeated and not is_map(field):
            for times in (100, 101):
                often = change(event, steps, field, None)
                owner = reached(often, steps)
                some = list(getattr(reached(event, steps), field.name))[:1]
                getattr(owner, field.name).extend(some * times)
                yield f"{path} {times} times", often


def fields(message: Message, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    """
    Yield every field of a message and of those inside it, with the way there.
    """
    for field in message.DESCRIPTOR.fields:
        yield steps, field
        if field.message_type is None or is_map(field):
            continue
        if field.is_repeated:
            for at, each in enumerate(getattr(message, field.name)):
                yield from fields(each, (*steps, (field.name, at)))
        elif message.HasField(field.name):
            yield from fields(getattr(message, field.name), (*steps, (field.name, None)))


def is_map(field: Any) -> bool:
    """
    Whether a field is a map.
    """
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def reached(event: SignalEvent, steps: Steps) -> Any:
    """
    Return the message at the end of a way.
    """
    message: Any = event
    for name, at in steps:
        message = getattr(message, name) if at is None else getattr(message, name)[at]
    return message


def change(event: SignalEvent, steps: Steps, field: Any, value: Any) -> SignalEvent:
    """
    Return a copy with one field set, or cleared when there is no value.
    """
    copy = SignalEvent()
    copy.CopyFrom(event)
    owner = reached(copy, steps)
    owner.ClearField(field.name)
    if value is None:
        return copy
    if is_map(field):
        getattr(owner, field.name)["seen"] = value
    elif field.is_repeated:
        getattr(owner, field.name).append(value)
    else:
        setattr(owner, field.name, value)
    return copy


@pytest.mark.parametrize("made", [whole, bare])
def test_what_is_wrong_never_passes(made: Callable[[], SignalEvent]) -> None:
    """
    Of all single changes of a good signal, those that the rules find fault with are not let through.
    """
    wrong = 0
    for what, event in changed(made()):
        if list(check_event(event, "event")):
            wrong += 1
            assert not passes(event, event.SerializeToString()), what
    assert wrong > 250  # Else the changes have lost their teeth.


@pytest.mark.parametrize(
    "unset", ["", "input_event_hash", "content_digest", "ledger_partition", "signal.context", "signal.validation"]
)
def test_what_is_right_passes_at_one_look(unset: str) -> None:
    """
    A whole signal needs no second look, nor one without what may be missing: that is what the first look is for.
    """
    event = whole()
    if unset:
        *steps, name = unset.split(".")
        reached(event, tuple((step, None) for step in steps)).ClearField(name)
    assert passes(event, event.SerializeToString())
    assert not list(check_event(event, "event"))


def test_an_infinite_number_is_seen_in_the_last_of_many_maps() -> None:
    """
    Whether any number can be infinite is asked of the bytes; that finds it wherever it is, of either sign.
    """
    for number in (math.inf, -math.inf, math.nan, -math.nan):
        event = whole()
        del event.signal.validation[:]
        for at in range(50):
            event.signal.validation.add(name=f"rule {at}", score=0.5).parameters["seen"] = 0.25
        assert passes(event, event.SerializeToString())
        event.signal.validation[-1].parameters["last"] = number
        assert not passes(event, event.SerializeToString())


def test_an_odd_id_does_not_pass_for_being_said_twice() -> None:
    """
    The signal and its envelope may agree about an id that is none.
    """
    for odd in TEXTS:
        event = whole()
        event.signal_id = event.signal.signal_id = odd
        right = not list(check_event(event, "event"))
        assert passes(event, event.SerializeToString()) == right, odd


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("signal.title", "x" * 500),
        ("signal.description", "x" * 10_000),
        ("signal.routing_hints", "x" * 200),
        ("signal.evidence[0].url", "x" * 2_000),
        *((f"signal.{name}", edge) for name in ("probability", "confidence_half_width") for edge in (0.0, 1.0)),
        *(("signal.validation[0].score", edge) for edge in (0.0, 1.0)),
        ("signal.confidence_score", 1.0),
        *(("emitted_at.seconds", edge) for edge in (-62_135_596_800, 253_402_300_799)),
        *(("emitted_at.nanos", edge) for edge in (0, 999_999_999)),
    ],
)
def test_what_is_just_right_passes_at_one_look(path: str, value: Any) -> None:
    """
    The ends of every range are inside.
    """
    *steps, name = path.split(".")
    way = tuple((step.removesuffix("[0]"), 0 if step.endswith("[0]") else None) for step in steps)
    owner = reached(whole(), way)
    event = change(whole(), way, owner.DESCRIPTOR.fields_by_name[name], value)
    assert passes(event, event.SerializeToString())
    assert not list(check_event(event, "event"))


@settings(max_examples=300)
@given(EVENTS)
def test_no_signal_passes_that_the_rules_refuse(event: SignalEvent) -> None:
    """
    Whatever a signal says, it passes only when the rules find nothing.
    """
    assert not passes(event, event.SerializeToString()) or not list(check_event(event, "event"))

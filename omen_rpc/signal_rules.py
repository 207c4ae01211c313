"""
What a signal must look like, whoever sends it: shapes and ranges, never where its ids come from.

Every check names the field by its path from the request, so a batch's caller knows which item to mend. What is checked
here of a whole event, `signal_sieve` asks in one look: a new rule belongs there as well.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from math import isfinite

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import Evidence, OmenSignal, SignalEvent
from omen_rpc.confidence_level import confidence_level, word
from omen_rpc.violation import Violation

TITLE_CHARS_MAX = 500
DESCRIPTION_CHARS_MAX = 10_000
NAME_CHARS_MAX = 200
URL_CHARS_MAX = 2_000
REQUEST_ID_CHARS_MAX = 128
LIST_ITEMS_MAX = 100
SECONDS_MIN = -62_135_596_800
SECONDS_MAX = 253_402_300_799

SIGNAL_ID = re.compile(r"OMEN-[A-Z0-9]{4,32}")
TRACE_ID = re.compile(r"[0-9a-z]{16}")
INPUT_HASH = re.compile(r"sha256:[0-9a-z]{1,64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PARTITION = re.compile(r"(\d{4})-(\d{2})-(\d{2})(-late)?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
PARTITION_CHARS_MAX = 15
SHAPES = (
    ("deterministic_trace_id", TRACE_ID),
    ("input_event_hash", INPUT_HASH),
    ("content_digest", DIGEST),
)
# What the signal and its envelope both say, by the names it has there.
SAID_TWICE = (
    ("signal_id", "signal_id"),
    ("source_event_id", "source_event_id"),
    ("trace_id", "deterministic_trace_id"),
    ("ruleset_version", "ruleset_version"),
)


def check_event(event: SignalEvent, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with a signal and its envelope.

    Every signal passes here and nearly none is wrong: a test comes before the words for what fails it.
    """
    if not SIGNAL_ID.fullmatch(event.signal_id):
        yield from check_signal_id(event.signal_id, f"{path}.signal_id")
    if not event.HasField("emitted_at"):
        yield Violation(f"{path}.emitted_at", "is missing")
    yield from check_envelope(event, path)
    if not event.HasField("signal"):
        yield Violation(f"{path}.signal", "is missing")
        return
    signal = event.signal
    for field, other in SAID_TWICE:
        ours, theirs = getattr(signal, field), getattr(event, other)
        if ours != theirs and ours and theirs:
            yield Violation(f"{path}.signal.{field}", f"is {ours!r}, and the envelope's {other} is {theirs!r}")
    yield from check_signal(signal, f"{path}.signal")


def check_envelope(event: SignalEvent, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with what stands around a signal.
    """
    for name in ("emitted_at", "observed_at", "ledger_written_at"):
        if event.HasField(name) and not is_time(getattr(event, name)):
            yield from check_time(getattr(event, name), f"{path}.{name}")
    for name, shape in SHAPES:
        value = getattr(event, name)
        if value and not shape.fullmatch(value):
            yield from check_shape(value, shape, f"{path}.{name}")
    for name in ("source_event_id", "ruleset_version"):
        if odd(getattr(event, name), NAME_CHARS_MAX):
            yield from check_line(getattr(event, name), NAME_CHARS_MAX, f"{path}.{name}")
    if event.ledger_partition and not is_partition(event.ledger_partition):
        yield from check_partition(event.ledger_partition, f"{path}.ledger_partition")


def check_signal(signal: OmenSignal, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with a signal by itself.
    """
    if not SIGNAL_ID.fullmatch(signal.signal_id):
        yield from check_signal_id(signal.signal_id, f"{path}.signal_id")
    if not signal.title:
        yield Violation(f"{path}.title", "is missing")
    if odd(signal.title, TITLE_CHARS_MAX):
        yield from check_line(signal.title, TITLE_CHARS_MAX, f"{path}.title")
    if odd(signal.description, DESCRIPTION_CHARS_MAX):
        yield from check_prose(signal.description, f"{path}.description")
    if signal.trace_id:
        yield from check_shape(signal.trace_id, TRACE_ID, f"{path}.trace_id")
    for name in ("probability", "confidence_score", "confidence_half_width"):
        if signal.HasField(name) and not 0.0 <= getattr(signal, name) <= 1.0:
            yield from check_share(getattr(signal, name), f"{path}.{name}")
    if signal.HasField("confidence_score") and signal.confidence_level:
        level = confidence_level(signal.confidence_score)
        if signal.confidence_level != level:
            yield Violation(f"{path}.confidence_level", f"does not fit: {signal.confidence_score} is {word(level)}")
    if signal.HasField("generated_at") and not is_time(signal.generated_at):
        yield from check_time(signal.generated_at, f"{path}.generated_at")
    if signal.routing_hints:
        yield from check_lines(signal.routing_hints, f"{path}.routing_hints")
    yield from check_parts(signal, path)


def odd(text: str, chars_max: int) -> bool:
    """
    Whether a text needs a closer look. Nearly none does, and looking costs four times as much as asking.
    """
    return len(text) > chars_max or not text.isprintable()


def check_parts(signal: OmenSignal, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with the lists inside a signal; each is counted before it is touched.
    """
    for name in ("evidence", "validation"):
        if len(getattr(signal, name)) > LIST_ITEMS_MAX:
            yield Violation(f"{path}.{name}", f"has {len(getattr(signal, name))} entries, {LIST_ITEMS_MAX} at most")
            return
    for at, evidence in enumerate(signal.evidence):
        yield from check_evidence(evidence, f"{path}.evidence[{at}]")
    for at, verdict in enumerate(signal.validation):
        if odd(verdict.name, NAME_CHARS_MAX):
            yield from check_line(verdict.name, NAME_CHARS_MAX, f"{path}.validation[{at}].name")
        if not 0.0 <= verdict.score <= 1.0:
            yield from check_share(verdict.score, f"{path}.validation[{at}].score")
        parameters = verdict.parameters
        for key in parameters:  # Not items(): that is Python's own over this map, at four times the cost.
            if not isfinite(parameters[key]):
                yield Violation(f"{path}.validation[{at}].parameters[{key!r}]", "is no finite number")
    if signal.HasField("context"):
        context = signal.context
        for name in ("regions", "chokepoints", "countries", "keywords", "flags"):
            if values := getattr(context, name):
                yield from check_lines(values, f"{path}.context.{name}")


def check_evidence(evidence: Evidence, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with one thing a signal rests on.
    """
    if odd(evidence.source, NAME_CHARS_MAX):
        yield from check_line(evidence.source, NAME_CHARS_MAX, f"{path}.source")
    if odd(evidence.url, URL_CHARS_MAX):
        yield from check_line(evidence.url, URL_CHARS_MAX, f"{path}.url")
    yield from check_time(evidence.observed_at, f"{path}.observed_at")
    yield from check_time(evidence.fetched_at, f"{path}.fetched_at")


def check_signal_id(value: str, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with an id.
    """
    if not value:
        yield Violation(path, "is missing")
    elif not SIGNAL_ID.fullmatch(value):
        yield Violation(path, "is not OMEN- and 4 to 32 capital letters and digits")


def check_shape(value: str, shape: re.Pattern[str], path: str) -> Iterator[Violation]:
    """
    Yield that a value, when there is one, has not the shape it must have.
    """
    if value and not shape.fullmatch(value):
        yield Violation(path, f"does not match {shape.pattern}")


def check_line(value: str, chars_max: int, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with a text that must fit on one line.
    """
    if len(value) > chars_max:
        yield Violation(path, f"has {len(value)} characters, {chars_max} at most")
    elif not value.isprintable() and CONTROL.search(value):
        yield Violation(path, "holds a control character")


def check_prose(value: str, path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with a longer text, in which lines and tabs are fine.
    """
    if len(value) > DESCRIPTION_CHARS_MAX:
        yield Violation(path, f"has {len(value)} characters, {DESCRIPTION_CHARS_MAX} at most")
    elif not value.isprintable() and CONTROL_IN_PROSE.search(value):
        yield Violation(path, "holds a control character")


def check_lines(values: Iterable[str], path: str) -> Iterator[Violation]:
    """
    Yield what is wrong with a list of names.
    """
    for at, value in enumerate(values):
        if at >= LIST_ITEMS_MAX:
            yield Violation(path, f"has more than {LIST_ITEMS_MAX} entries")
            return
        if odd(value, NAME_CHARS_MAX):
            yield from check_line(value, NAME_CHARS_MAX, f"{path}[{at}]")


def check_share(value: float, path: str) -> Iterator[Violation]:
    """
    Yield that a value does not lie between 0 and 1. NaN lies nowhere.
    """
    if not 0.0 <= value <= 1.0:
        yield Violation(path, f"is {value!r}, not between 0 and 1")


def check_time(value: Timestamp, path: str) -> Iterator[Violation]:
    """
    Yield that a time lies outside of the years 0001 to 9999.
    """
    if not is_time(value):
        yield Violation(path, "is no time in the years 0001 to 9999")


def is_time(value: Timestamp) -> bool:
    """
    Whether a time lies in the years 0001 to 9999.
    """
    return SECONDS_MIN <= value.seconds <= SECONDS_MAX and 0 <= value.nanos < 1_000_000_000


def check_partition(value: str, path: str) -> Iterator[Violation]:
    """
    Yield that a name is none of a partition.
    """
    if not is_partition(value):
        yield Violation(path, "is no partition: a real date YYYY-MM-DD, with -late for late arrivals")


def is_partition(value: str) -> bool:
    """
    Whether a partition may have such a name.
    """
    return len(value) <= PARTITION_CHARS_MAX and is_day(value)


@lru_cache(maxsize=1024)
def is_day(value: str) -> bool:
    """
    Whether a short text names a day that the calendar has; signals of one day come in their thousands.
    """
    found = PARTITION.fullmatch(value)
    if found is None or not value.isascii():
        return False
    try:
        date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return False
    return True

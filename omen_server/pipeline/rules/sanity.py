"""
V0: is this an event at all?
"""

from collections.abc import Iterator
from math import isfinite

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import RawSignalEvent, RuleVerdict
from omen_rpc import signal_rules
from omen_server.pipeline.attribute import SECOND_NS, field_of, is_real
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot
from omen_server.pipeline.thresholds import Sanity


def sanity(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Refuse what no rule could judge: no numbers, no times, no known source.
    """
    limits = rules.sanity
    faults = [*_faults(reading, limits, snapshot)]
    if faults:
        return rejected(0.0, "; ".join(faults))
    ahead_s = (reading.observed_ns - snapshot.as_of_ns) / SECOND_NS
    return passed(1.0, "The event is well formed", numbers={"ahead_s": ahead_s, "ahead_s_max": limits.ahead_s_max})


def _faults(reading: Reading, limits: Sanity, snapshot: Snapshot) -> Iterator[str]:
    raw = reading.raw
    if reading.profile is None:
        yield f"The source {raw.source[:40]!r} is not known"
    if not raw.source_event_id:
        yield "The event has no id at its source"
    if len(raw.title.strip()) < limits.title_chars_min:
        yield "The title is empty"
    yield from _ill_shaped(raw, limits)
    yield from _no_numbers(raw)
    if not raw.HasField("observed_at"):
        yield "The event does not say when it was observed"
        return
    if any(not is_real(time) for time in _times(raw)):
        yield "A time lies outside of the years 0001 to 9999"
    elif reading.observed_ns > snapshot.as_of_ns + limits.ahead_s_max * SECOND_NS:
        yield f"The event was observed more than {limits.ahead_s_max} s ahead of now"


def _ill_shaped(raw: RawSignalEvent, limits: Sanity) -> Iterator[str]:
    for violations in (
        signal_rules.check_line(raw.title, limits.title_chars_max, "The title"),
        signal_rules.check_line(raw.source_event_id, limits.name_chars_max, "The id"),
        signal_rules.check_line(raw.url, limits.url_chars_max, "The address"),
        signal_rules.check_line(raw.licence, limits.name_chars_max, "The licence"),
        signal_rules.check_prose(raw.description, "The description"),
    ):
        yield from (f"{violation.field} {violation.description}" for violation in violations)


def _no_numbers(raw: RawSignalEvent) -> Iterator[str]:
    probability = field_of(raw, "probability")
    if probability is not None and not 0.0 <= probability <= 1.0:
        yield f"The probability is {probability!r}, not between 0 and 1"
    for field, value in raw.market.ListFields():
        if field.cpp_type == field.CPPTYPE_DOUBLE:
            values = value if field.is_repeated else (value,)
            if not all(isfinite(number) for number in values):
                yield f"{field.name} is no finite number"


def _times(raw: RawSignalEvent) -> Iterator[Timestamp]:
    yield raw.observed_at
    if raw.HasField("fetched_at"):
        yield raw.fetched_at
    if raw.market.HasField("end_at"):
        yield raw.market.end_at

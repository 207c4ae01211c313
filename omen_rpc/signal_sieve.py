"""
One quick look at a signal. Whoever passes is as `signal_rules` wants it; of who does not, that knows what is wrong.

Every signal that RiskCast takes comes through here, and nearly none is wrong. So this asks for all texts at once what
the rules ask for each, makes no paths and no words, and need not be sure: who is only odd, with a line break in the
description or a letter that Unicode does not call printable, goes on to the rules and passes there. Batches gain a
twenty-fifth by it. A rule that is missing here lets through what it forbids: the test changes every field there is.
"""

from collections.abc import Sequence
from math import isfinite

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import OmenSignal, SignalEvent
from omen_rpc.confidence_level import confidence_level
from omen_rpc.signal_rules import (
    DESCRIPTION_CHARS_MAX,
    DIGEST,
    INPUT_HASH,
    LIST_ITEMS_MAX,
    NAME_CHARS_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    SIGNAL_ID,
    TITLE_CHARS_MAX,
    TRACE_ID,
    URL_CHARS_MAX,
    is_partition,
)


def passes(event: SignalEvent, data: bytes) -> bool:
    """
    Tell whether `check_event` will find nothing wrong. *data* is the bytes of *event*.
    """
    signal = event.signal
    signal_id = event.signal_id
    trace_id = event.deterministic_trace_id
    source_id = event.source_event_id
    ruleset = event.ruleset_version
    input_hash = event.input_event_hash
    digest = event.content_digest
    partition = event.ledger_partition
    names = [source_id, ruleset]
    times = [event.emitted_at, event.observed_at, event.ledger_written_at, signal.generated_at]
    return bool(
        SIGNAL_ID.fullmatch(signal_id)
        and signal.signal_id == signal_id
        and signal.trace_id in ("", trace_id)
        and signal.source_event_id in ("", source_id)
        and signal.ruleset_version in ("", ruleset)
        and (not trace_id or TRACE_ID.fullmatch(trace_id))
        and (not input_hash or INPUT_HASH.fullmatch(input_hash))
        and (not digest or DIGEST.fullmatch(digest))
        and (not partition or is_partition(partition))
        and event.HasField("emitted_at")
        and fits(signal)
        and take_parts(signal, data, names, times)
        and are_names(names)
        and are_times(times)
    )


def fits(signal: OmenSignal) -> bool:
    """
    Tell whether the texts and numbers of a signal are plainly as they should be.
    """
    title = signal.title
    description = signal.description
    score = signal.confidence_score
    level = signal.confidence_level
    return (
        0 < len(title) <= TITLE_CHARS_MAX
        and title.isprintable()
        and (not description or (len(description) <= DESCRIPTION_CHARS_MAX and description.isprintable()))
        and 0.0 <= signal.probability <= 1.0
        and 0.0 <= score <= 1.0
        and 0.0 <= signal.confidence_half_width <= 1.0
        and (not level or level == confidence_level(score))
    )


def take_parts(signal: OmenSignal, data: bytes, names: list[str], times: list[Timestamp]) -> bool:
    """
    Add the names and times in the lists of a signal, and tell whether the lists and the numbers in them may be so.
    """
    evidence, verdicts, hints = signal.evidence, signal.validation, signal.routing_hints
    lists: list[Sequence[str]] = [hints] if hints else []
    if signal.HasField("context"):
        context = signal.context
        lists += (context.regions, context.chokepoints, context.countries, context.keywords, context.flags)
    if len(evidence) + len(verdicts) + sum(map(len, lists)) > LIST_ITEMS_MAX:
        return False
    for each in lists:
        names += each
    for ground in evidence:
        names.append(ground.source)
        times += (ground.observed_at, ground.fetched_at)
        if len(ground.url) > URL_CHARS_MAX or not ground.url.isprintable():
            return False
    # One of these ends each double that is infinite or no number. Asking the bytes saves opening every map.
    may_be_endless = b"\x7f" in data or b"\xff" in data
    for verdict in verdicts:
        names.append(verdict.name)
        if not 0.0 <= verdict.score <= 1.0:
            return False
        if may_be_endless and not all(map(isfinite, verdict.parameters.values())):
            return False
    return True


def are_names(names: Sequence[str]) -> bool:
    """
    Tell whether all of these are plainly names.
    """
    text = "".join(names)
    return text.isprintable() and (len(text) <= NAME_CHARS_MAX or max(map(len, names)) <= NAME_CHARS_MAX)


def are_times(times: Sequence[Timestamp]) -> bool:
    """
    Tell whether all of these lie in the years 0001 to 9999.
    """
    for at in times:  # noqa: SIM110 - all() over a generator takes half as long again
        if not (SECONDS_MIN <= at.seconds <= SECONDS_MAX and 0 <= at.nanos < 1_000_000_000):
            return False
    return True

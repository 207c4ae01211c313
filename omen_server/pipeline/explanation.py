"""
How a signal came to be, step by step, so that anyone can do the sums again.
"""

from collections.abc import Iterable, Sequence

from omen.v1.signal_pb2 import RawSignalEvent, RuleVerdict, SignalEvent
from omen.v1.signal_service_pb2 import CategoryScore, ConfidenceDerivation, SignalExplanation
from omen_server import identity
from omen_server.pipeline.classifier import Weighed
from omen_server.pipeline.confidence import from_verdicts
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot


def explanation_of(
    raw: RawSignalEvent,
    input_hash: str,
    rules: Ruleset,
    snapshot: Snapshot,
    *,
    verdicts: Sequence[RuleVerdict],
    derivation: ConfidenceDerivation,
    weighed: Sequence[Weighed],
) -> SignalExplanation:
    """
    Return the whole derivation. An event that was refused has one too, with the id it would have had.
    """
    trace = identity.trace_id(raw.source_event_id, input_hash, rules.id)
    explanation = SignalExplanation(
        signal_id=identity.signal_id(trace),
        ruleset_version=rules.id,
        context_digest=snapshot.digest,
        verdicts=verdicts,
        confidence=derivation,
        categories=scores_of(weighed),
        identity_steps=identity_steps(raw.source_event_id, input_hash, rules.id),
    )
    explanation.as_of.FromDatetime(snapshot.as_of)
    return explanation


def explain_stored(event: SignalEvent, rules: Ruleset) -> SignalExplanation:
    """
    Return how a signal of the ledger came to be: of one that these rules have made the same that was told then.

    Of another ruleset's, or of an upstream's own, what it says itself: the sums that led there are not to be had.
    """
    signal = event.signal
    explanation = SignalExplanation(
        signal_id=event.signal_id,
        ruleset_version=event.ruleset_version,
        context_digest=signal.context_digest,
        verdicts=signal.validation,
        confidence=told(event, rules),
        categories=scores_of(weighed_by(signal.validation, rules)),
        identity_steps=steps_of(event),
    )
    if signal.HasField("generated_at"):
        explanation.as_of.CopyFrom(signal.generated_at)
    return explanation


def told(event: SignalEvent, rules: Ruleset) -> ConfidenceDerivation:
    """
    Return how the score follows, if these rules made it and it does follow; else the score, and nothing of its parts.
    """
    signal = event.signal
    numbers = next((each.parameters for each in signal.validation if each.name == rules.emission[0]), None)
    if event.ruleset_version == rules.id and numbers and "completeness" in numbers and "source_trust" in numbers:
        found = from_verdicts(signal.validation, numbers["completeness"], numbers["source_trust"], rules)
        if (found.score, found.half_width) == (signal.confidence_score, signal.confidence_half_width):
            return found
    return ConfidenceDerivation(score=signal.confidence_score, half_width=signal.confidence_half_width)


def scores_of(weighed: Iterable[Weighed]) -> list[CategoryScore]:
    """
    Return the categories that anything speaks for, in the order of precedence.
    """
    return [
        CategoryScore(category=each.category, score=each.score, matches=each.matches)
        for each in weighed
        if each.score > 0
    ]


def weighed_by(verdicts: Iterable[RuleVerdict], rules: Ruleset) -> list[Weighed]:
    """
    Return the categories' weights as a signal's verdicts tell them. Which word spoke for which, the rules know.
    """
    verdict = next((each for each in verdicts if (each.name, each.version) == rules.category), None)
    if verdict is None:
        return []
    speaks_for = {
        phrase: {meaning.partition(":")[0] for meaning in rules.lexicon.meanings("category", phrase)}
        for phrase in verdict.matches
    }
    return [
        Weighed(name, verdict.parameters[name], tuple(word for word, names in speaks_for.items() if name in names))
        for name in rules.classes.precedence
        if name in verdict.parameters
    ]


def steps_of(event: SignalEvent) -> list[str]:
    """
    Return how a signal's ids follow; of ids that follow from nothing, that they do not.
    """
    trace = identity.trace_id(event.source_event_id, event.input_event_hash, event.ruleset_version)
    if (event.deterministic_trace_id, event.signal_id) == (trace, identity.signal_id(trace)):
        return identity_steps(event.source_event_id, event.input_event_hash, event.ruleset_version)
    return [f"signal_id is {event.signal_id} because whoever sent the signal says so; it follows from nothing in it"]


def identity_steps(source_event_id: str, input_hash: str, ruleset_version: str) -> list[str]:
    """
    Return how the ids follow, in sentences.
    """
    trace = identity.trace_id(source_event_id, input_hash, ruleset_version)
    return [
        f"input_event_hash, over {', '.join(identity.HASHED)}, is {input_hash}",
        f"trace_id is the first 16 hex digits of SHA-256({source_event_id}|{input_hash}|{ruleset_version}): {trace}",
        f"signal_id is OMEN- and the first 12 of them in capitals: {identity.signal_id(trace)}",
    ]

"""
How a signal came to be, step by step, so that anyone can do the sums again.
"""

from collections.abc import Sequence

from omen.v1.signal_pb2 import RawSignalEvent, RuleVerdict
from omen.v1.signal_service_pb2 import CategoryScore, ConfidenceDerivation, SignalExplanation
from omen_server import identity
from omen_server.pipeline.classifier import Weighed
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
        categories=[
            CategoryScore(category=each.category, score=each.score, matches=each.matches)
            for each in weighed
            if each.score > 0
        ],
        identity_steps=identity_steps(raw.source_event_id, input_hash, rules.id),
    )
    explanation.as_of.FromDatetime(snapshot.as_of)
    return explanation


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

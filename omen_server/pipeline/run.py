"""
From a raw event to a signal, or to the rule that said no. Pure: the same arguments give the same answer, for ever.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from omen.v1.signal_pb2 import OmenSignal, RawSignalEvent, RuleStatus, RuleVerdict, SignalCategory, SignalEvent
from omen.v1.signal_service_pb2 import ConfidenceDerivation, SignalExplanation
from omen_rpc.confidence_level import confidence_level
from omen_server import identity
from omen_server.pipeline.classifier import Weighed, classify, weigh
from omen_server.pipeline.confidence import confidence
from omen_server.pipeline.enrichment import enrich, evidence_of, routing_hints
from omen_server.pipeline.estimate import Estimate, estimate
from omen_server.pipeline.explanation import explanation_of
from omen_server.pipeline.history import EMPTY, History
from omen_server.pipeline.reading import Reading, read
from omen_server.pipeline.rules.verdict import not_applicable, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Peer, Snapshot, of_batch
from omen_server.pipeline.validator import REFUSALS, validate

SCHEMA_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one raw event. Passed: `event` is there, complete but for its digest and what emitter and ledger say.
    Filtered: `rejected_by` names the rule. The verdicts are there either way.
    """

    input_event_hash: str
    event: SignalEvent | None
    verdicts: tuple[RuleVerdict, ...]
    rejected_by: str = ""
    explanation: SignalExplanation | None = None

    @property
    def passed(self) -> bool:
        """
        Whether it became a signal.
        """
        return self.event is not None

    @property
    def reason(self) -> str:
        """
        Why it did not, in a sentence.
        """
        return next((verdict.reason for verdict in self.verdicts if verdict.name == self.rejected_by), "")


def run(raw: RawSignalEvent, rules: Ruleset, snapshot: Snapshot, *, explain: bool = False) -> Outcome:
    """
    Judge one raw event, and make its signal if every rule lets it through.
    """
    return judge(read(raw, rules), rules, snapshot, explain=explain)


def run_batch(
    batch: Sequence[RawSignalEvent],
    rules: Ruleset,
    as_of: datetime,
    *,
    history: History = EMPTY,
    peers: Iterable[Peer] = (),
    explain: bool = False,
) -> list[Outcome]:
    """
    Judge a batch, each event with all others as its peers: their order makes no difference.
    """
    readings = [read(raw, rules) for raw in batch]
    snapshot = of_batch(as_of, readings, history=history, peers=peers)
    return [judge(reading, rules, snapshot, explain=explain) for reading in readings]


def judge(reading: Reading, rules: Ruleset, snapshot: Snapshot, *, explain: bool = False) -> Outcome:
    """
    Judge an event that has been read.
    """
    raw = reading.raw
    input_hash = identity.input_event_hash(raw)
    verdicts = [*validate(reading, rules, snapshot, explain=explain)]
    rejected_by = first_refusal(verdicts)
    if rejected_by and not explain:
        return Outcome(input_hash, None, tuple(verdicts), rejected_by)
    derivation = confidence(reading, rules, verdicts)
    weighed = weigh(reading, rules)
    verdicts += [emission(derivation, rules), categorised(weighed, rules)]
    explained = (
        explanation_of(raw, input_hash, rules, snapshot, verdicts=verdicts, derivation=derivation, weighed=weighed)
        if explain
        else None
    )
    rejected_by = first_refusal(verdicts)
    found = None if rejected_by else estimate(reading, rules, snapshot)
    if found is None:
        return Outcome(input_hash, None, tuple(verdicts), rejected_by, explained)
    signal = signal_of(reading, rules, snapshot, found=found, weighed=weighed, derivation=derivation)
    signal.validation.extend(verdicts)
    return Outcome(input_hash, enveloped(signal, raw, input_hash, rules), tuple(verdicts), "", explained)


def first_refusal(verdicts: Iterable[RuleVerdict]) -> str:
    """
    Return the name of the rule that decided against the event, if any did.
    """
    return next((verdict.name for verdict in verdicts if verdict.status in REFUSALS), "")


def emission(derivation: ConfidenceDerivation, rules: Ruleset) -> RuleVerdict:
    """
    Say whether a signal is sure enough to be emitted.
    """
    least = rules.confidence.score_min
    numbers = {
        "score_min": least,
        "base": derivation.base,
        "completeness": derivation.completeness,
        "source_trust": derivation.source_trust,
    }
    if derivation.score < least:
        verdict = rejected(
            derivation.score, f"A confidence of {derivation.score:.4f} is below {least:.2f}", (), numbers
        )
    else:
        verdict = passed(derivation.score, f"A confidence of {derivation.score:.4f}", (), numbers)
    verdict.name, verdict.version = rules.emission
    return verdict


def categorised(weighed: Sequence[Weighed], rules: Ruleset) -> RuleVerdict:
    """
    Say what the words weigh for each category, so that the signal tells it when its raw event is gone.
    """
    told = [each for each in weighed if each.score > 0]
    if not told:
        verdict = not_applicable("No word speaks for a category; the kind of source decides")
    else:
        matches = {phrase for each in told for phrase in each.matches}
        verdict = RuleVerdict(
            status=RuleStatus.RULE_STATUS_PASSED,
            reason=f"Words speak for {', '.join(sorted(each.name for each in told))}",
            parameters={each.name: each.score for each in told},
            matches=sorted(matches),
        )
    verdict.name, verdict.version = rules.category
    return verdict


def signal_of(
    reading: Reading,
    rules: Ruleset,
    snapshot: Snapshot,
    *,
    found: Estimate,
    weighed: list[Weighed],
    derivation: ConfidenceDerivation,
) -> OmenSignal:
    """
    Return the signal of an event that passed, but for its ids.
    """
    raw = reading.raw
    context = enrich(reading, rules, snapshot)
    category = classify(reading, rules, weighed)
    signal = OmenSignal(
        title=raw.title,
        description=raw.description,
        probability=found.probability,
        probability_is_estimate=found.is_estimate,
        probability_method=found.method,
        confidence_score=derivation.score,
        confidence_level=confidence_level(derivation.score),
        confidence_half_width=derivation.half_width,
        category=category,
        context=context,
        evidence=evidence_of(reading, rules, snapshot),
        context_digest=snapshot.digest,
    )
    signal.routing_hints.extend(routing_hints(context, SignalCategory.Name(category)))
    # The rules' own time: no clock is read here, and the digest of the content leaves it out.
    signal.generated_at.FromDatetime(snapshot.as_of)
    return signal


def enveloped(signal: OmenSignal, raw: RawSignalEvent, input_hash: str, rules: Ruleset) -> SignalEvent:
    """
    Return the signal in its envelope, both with the ids that follow from the event.
    """
    trace = identity.trace_id(raw.source_event_id, input_hash, rules.id)
    signal.signal_id = identity.signal_id(trace)
    signal.source_event_id = raw.source_event_id
    signal.trace_id = trace
    signal.ruleset_version = rules.id
    return SignalEvent(
        schema_version=SCHEMA_VERSION,
        signal_id=signal.signal_id,
        deterministic_trace_id=trace,
        input_event_hash=input_hash,
        source_event_id=raw.source_event_id,
        ruleset_version=rules.id,
        observed_at=raw.observed_at,
        signal=signal,
    )

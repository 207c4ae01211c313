"""
How sure a signal is: what its rules scored, how much of what is expected was said, and how far its source is trusted.
"""

from collections.abc import Iterable, Mapping

from omen.v1.signal_pb2 import RawSignalEvent, RuleVerdict
from omen.v1.signal_service_pb2 import ConfidenceDerivation, ConfidenceFactor
from omen_server.pipeline.attribute import is_said
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import DIGITS, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.weights import Confidence

FACTORS = ("liquidity", "semantic", "geographic", "anomaly")
BOOSTS = ("news_quality", "price_context", "cross_source")


def confidence(reading: Reading, rules: Ruleset, verdicts: Iterable[RuleVerdict]) -> ConfidenceDerivation:
    """
    Derive the score from what the rules said. It follows from the verdicts as they are shown, rounding included.
    """
    trust = reading.profile.trust if reading.profile else 0.0
    return from_verdicts(verdicts, rounded(completeness_of(reading.raw, reading.kind, rules)), trust, rules)


def from_verdicts(
    verdicts: Iterable[RuleVerdict], completeness: float, trust: float, rules: Ruleset
) -> ConfidenceDerivation:
    """
    Derive the score from what is kept of a signal: its verdicts and two numbers, all of them rounded.
    """
    by_name = {verdict.name: verdict for verdict in verdicts}
    values = {name: by_name[name].score for name in FACTORS if name in by_name and by_name[name].HasField("score")}
    boosts = {name: by_name[name].parameters["boost"] for name in BOOSTS if boosts_of(by_name.get(name))}
    return derive({**values, "source": trust}, completeness, trust, boosts, rules)


def boosts_of(verdict: RuleVerdict | None) -> bool:
    """
    Whether a verdict adds anything.
    """
    return verdict is not None and "boost" in verdict.parameters and verdict.parameters["boost"] > 0


def derive(
    values: Mapping[str, float], completeness: float, trust: float, boosts: Mapping[str, float], rules: Ruleset
) -> ConfidenceDerivation:
    """
    Derive the score from its parts. A factor that is missing leaves its weight to the others.
    """
    numbers = rules.confidence
    weight = sum(numbers.factors[name] for name in sorted(values))
    factors = [
        ConfidenceFactor(name=name, weight=round(numbers.factors[name] / weight, 6), value=values[name])
        for name in sorted(values)
    ]
    base = sum(numbers.factors[name] * values[name] for name in sorted(values)) / weight
    score = numbers.base * base + numbers.completeness * completeness + numbers.trust * trust
    return ConfidenceDerivation(
        factors=factors,
        base=rounded(base),
        completeness=rounded(completeness),
        source_trust=trust,
        boosts=[ConfidenceFactor(name=name, weight=1.0, value=boosts[name]) for name in sorted(boosts)],
        score=rounded(score + sum(boosts[name] for name in sorted(boosts))),
        half_width=half_width(completeness, trust, numbers),
    )


def half_width(completeness: float, trust: float, numbers: Confidence) -> float:
    """
    Return half of the interval: wider for what is not said and for a source that is not fully trusted.
    """
    width = numbers.width_base + numbers.width_incomplete * (1 - completeness)
    width += numbers.width_distrust * max(0.0, numbers.trust_full - trust)
    return round(numbers.sigmas * width, DIGITS)


def completeness_of(raw: RawSignalEvent, kind: Kind, rules: Ruleset) -> float:
    """
    Return the share of the fields expected of such a source that the event says.
    """
    expected = rules.confidence.expected[kind]
    return sum(is_said(raw, path) for path in expected) / len(expected)

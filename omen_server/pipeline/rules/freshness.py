"""
V6: is it still news?
"""

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import SECOND_NS, moment_of, ns_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import Numbers, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot


def freshness(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Refuse what is older than its source's word is good for. An alert is good until it expires.
    """
    age_s, limit_s = age_of(reading, snapshot), limit_of(reading)
    said: Numbers = {"age_s": age_s, "age_s_max": limit_s}
    if limit_s is None:
        return rejected(0.0, "The alert does not say when it expires", numbers=said)
    if age_s > limit_s:
        return rejected(0.0, f"{age_s:.0f} s old, {limit_s:.0f} s at most", numbers=said)
    score = recency_of(age_s, rules) if reading.kind is Kind.NEWS else 1.0
    return passed(score, f"{age_s:.0f} s old, {limit_s:.0f} s at most", numbers=said)


def age_of(reading: Reading, snapshot: Snapshot) -> float:
    """
    Return the age in seconds; what comes from a clock that is ahead is no younger than new.
    """
    return max(0, snapshot.as_of_ns - reading.observed_ns) / SECOND_NS


def limit_of(reading: Reading) -> float | None:
    """
    Return the greatest age in seconds; none where an alert does not say its own.
    """
    if reading.kind is not Kind.ALERT:
        return reading.profile.age_s_max if reading.profile else 0.0
    expires = moment_of(reading.raw, "expires")
    return None if expires is None else (ns_of(expires) - reading.observed_ns) / SECOND_NS


def recency_of(age_s: float, rules: Ruleset) -> float:
    """
    Return what is left of an article's worth: half of it each day.
    """
    return float(0.5 ** (age_s / rules.freshness.news_half_life_s))

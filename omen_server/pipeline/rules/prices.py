"""
V8: how large is a price's move? It gives context and never refuses.
"""

from math import isfinite, isnan

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import number_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import not_applicable, passed
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot

NAMES = ("no", "a low", "a medium", "a high")


def price_context(reading: Reading, rules: Ruleset, _: Snapshot) -> RuleVerdict:
    """
    Tell how large a move is, by its percentage or by its distance from the usual, whichever says more.
    """
    if reading.kind not in {Kind.PRICE, Kind.FREIGHT}:
        return not_applicable("The source tells no prices")
    change, score = change_of(reading), z_of(reading, rules)
    level = step_of(change, score, rules)
    boost = rules.prices.boosts[level]
    reason = f"There is {NAMES[level]} move"
    return passed(
        level / 3, reason, numbers={"change_pct": change, "z_score": score, "step": float(level), "boost": boost}
    )


def change_of(reading: Reading) -> float | None:
    """
    Return the change in percent; one that is no number says nothing.
    """
    change = number_of(reading.raw, "change_pct")
    return change if change is not None and isfinite(change) else None


def z_of(reading: Reading, rules: Ruleset) -> float | None:
    """
    Return the distance in standard deviations, clamped; NaN says nothing.
    """
    score = number_of(reading.raw, "z_score")
    if score is None or isnan(score):
        return None
    return max(-rules.prices.z_max, min(rules.prices.z_max, score))


def step_of(change: float | None, score: float | None, rules: Ruleset) -> int:
    """
    Return 0 for no move worth telling, 1 for a low one, 2 for a medium, 3 for a high.
    """
    by_change = sum(abs(change) >= step for step in rules.prices.change_pct) if change is not None else 0
    by_score = sum(abs(score) >= step for step in rules.prices.z_score) if score is not None else 0
    return max(by_change, by_score)

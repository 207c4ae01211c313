"""
V9: do ships wait longer, or pass more rarely, than they do?
"""

from math import isfinite

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import number_of, text_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import Numbers, not_applicable, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot


def traffic(reading: Reading, rules: Ruleset, _: Snapshot) -> RuleVerdict:
    """
    Refuse traffic that is as usual, and ships that nobody could have named.
    """
    if reading.kind is Kind.VESSELS:
        return _vessels(reading, rules)
    if reading.kind is Kind.TRANSITS:
        return _transits(reading, rules)
    return not_applicable("The source tells no traffic")


def _vessels(reading: Reading, rules: Ruleset) -> RuleVerdict:
    limits = rules.traffic
    mmsi = text_of(reading.raw, "mmsi")
    if mmsi and not (len(mmsi) == limits.mmsi_digits and mmsi.isascii() and mmsi.isdigit()):
        return rejected(0.0, f"The MMSI does not have {limits.mmsi_digits} digits")
    congestion, delay = finite(reading, "congestion_ratio"), finite(reading, "delay_ratio")
    said: Numbers = {"congestion_ratio": congestion, "delay_ratio": delay}
    if congestion is None and delay is None:
        return rejected(0.0, "One ship's position says nothing of the traffic")
    scores = {
        "congestion": score_of(congestion, limits.congestion_ratio, limits.congestion_span),
        "delay": score_of(delay, limits.delay_ratio, limits.delay_span),
    }
    matches = [name for name, score in scores.items() if score > 0]
    if not matches:
        return rejected(0.0, "The traffic is as usual", numbers=said)
    return passed(max(scores.values()), f"Unusual {' and '.join(matches)}", matches, numbers=said)


def score_of(ratio: float | None, least: float, span: float) -> float:
    """
    Return how far beyond the usual a ratio is; nothing below the least one that counts.
    """
    return (ratio - 1) / span if ratio is not None and ratio >= least else 0.0


def _transits(reading: Reading, rules: Ruleset) -> RuleVerdict:
    change, limits = change_of(reading), rules.traffic
    if change is None:
        return rejected(0.0, "Nothing says how many ships pass as a rule")
    if change > limits.change_pct:
        return rejected(0.0, f"The week's mean changed by {change:.1f} %", numbers={"change_pct": change})
    return passed(
        -change / 100, f"The week's mean fell by {-change:.1f} %", ["disruption"], numbers={"change_pct": change}
    )


def change_of(reading: Reading) -> float | None:
    """
    Return the change of the week's mean in percent, against last year's week or the last 90 days: the deeper fall.

    Either will do, since a disruption that is older than a year has lowered what it is compared with.
    """
    changes = (finite(reading, "change_year_pct"), finite(reading, "change_median_pct"))
    return min((change for change in changes if change is not None), default=None)


def drop_of(reading: Reading) -> float | None:
    """
    Return which share of the traffic is gone; a ratio of 2 is a half.
    """
    if reading.kind is Kind.TRANSITS:
        change = change_of(reading)
        return None if change is None else max(0.0, -change / 100)
    ratios = (finite(reading, "congestion_ratio"), finite(reading, "delay_ratio"))
    return max((1 - 1 / ratio for ratio in ratios if ratio is not None and ratio >= 1), default=None)


def finite(reading: Reading, key: str) -> float | None:
    """
    Return a measure that is a number.
    """
    value = number_of(reading.raw, key)
    return value if value is not None and isfinite(value) else None

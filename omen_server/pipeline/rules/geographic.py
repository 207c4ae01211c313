"""
V5: does it happen where trade passes?
"""

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules import semantic
from omen_server.pipeline.rules.verdict import Numbers, not_applicable, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot

PLACELESS = frozenset({Kind.PRICE, Kind.FREIGHT})


def geographic(reading: Reading, rules: Ruleset, _: Snapshot) -> RuleVerdict:
    """
    Pass what touches a chokepoint or a port. Words of logistics alone place nothing; only a market may do without.
    """
    limits = rules.geographic
    places = [*reading.chokepoints, *reading.ports]
    said: Numbers = {"near_km": limits.near_km, "nearest_km": reading.nearest_km, "places": float(len(places))}
    if places:
        score = limits.base + limits.per_place * len(places)
        return passed(score, f"Touches {', '.join(places[:5])}", places, numbers=said)
    if reading.kind in PLACELESS:
        return not_applicable("A price has no place")
    generic = reading.phrases("generic")
    score = min(limits.generic_score_max, limits.generic_per_word * len(generic))
    if not generic:
        return rejected(0.0, "Touches no chokepoint and no port", numbers=said)
    if reading.kind is Kind.MARKET and semantic.score_of(reading, rules) >= limits.generic_semantic_min:
        return passed(score, "Names no place, but is about trade as a whole", generic, numbers=said)
    return rejected(score, "Only general words of logistics, and no place", generic, numbers=said)

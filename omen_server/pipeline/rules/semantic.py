"""
V4: is the event about trade and what disturbs it?
"""

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import passed, rejected, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot


def semantic(reading: Reading, rules: Ruleset, _: Snapshot) -> RuleVerdict:
    """
    Score the keywords and their groups. What is off the topic is refused, unless it names a chokepoint.
    """
    score, limits = score_of(reading, rules), rules.semantic
    groups, matches = reading.meanings("keyword"), reading.phrases("keyword")
    said = {"groups": float(len(groups)), "matches": float(len(matches)), "score_min": limits.score_min}
    off_topic = reading.phrases("off_topic")
    if off_topic and not reading.meanings("chokepoint"):
        return rejected(score, f"About something else: {', '.join(off_topic[:5])}", off_topic, numbers=said)
    if score < limits.score_min:
        return rejected(score, "Too little of it is about trade and what disturbs it", matches, numbers=said)
    return passed(score, f"About {', '.join(groups)}", matches, numbers=said)


def score_of(reading: Reading, rules: Ruleset) -> float:
    """
    Return how much of the topic the words cover.
    """
    limits = rules.semantic
    groups, matches = len(reading.meanings("keyword")), len(reading.phrases("keyword"))
    return rounded(limits.per_group * groups + limits.per_match * matches)

"""
What an event is about: the category whose words weigh most, the first in precedence among equals.
"""

from dataclasses import dataclass

from omen.v1 import signal_pb2
from omen_server.pipeline.profiles import HAZARDS
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.words import Found

PREFIX = "SIGNAL_CATEGORY_"


@dataclass(frozen=True, slots=True)
class Weighed:
    """
    One category, what its words weigh, and which they are.
    """

    name: str
    score: float
    matches: tuple[str, ...]

    @property
    def category(self) -> signal_pb2.SignalCategory.ValueType:
        """
        The category as the contract has it.
        """
        return signal_pb2.SignalCategory.Value(PREFIX + self.name)


def weigh(reading: Reading, rules: Ruleset) -> list[Weighed]:
    """
    Return every category with its weight, in the order of precedence.
    """
    classes = rules.classes
    scores = dict.fromkeys(classes.precedence, 0)
    matches: dict[str, set[str]] = {name: set() for name in classes.precedence}
    for text, factor in ((reading.title, classes.title_factor), (reading.description, classes.description_factor)):
        for phrase, name, weight in hits(text):
            scores[name] += factor * weight
            matches[name].add(phrase)
    return [Weighed(name, float(scores[name]), tuple(sorted(matches[name]))) for name in classes.precedence]


def hits(text: Found) -> list[tuple[str, str, int]]:
    """
    Return each phrase with each category it speaks for and its weight. A phrase counts once a text.
    """
    found = []
    for phrase, meanings in text.get("category", {}).items():
        for meaning in meanings:
            name, _, weight = meaning.partition(":")
            found.append((phrase, name, int(weight)))
    return found


def classify(reading: Reading, rules: Ruleset, weighed: list[Weighed]) -> signal_pb2.SignalCategory.ValueType:
    """
    Return exactly one category. Without a word to go by, the kind of source decides.
    """
    default = rules.classes.defaults.get(reading.kind, "OTHER")
    allowed = rules.classes.hazards if reading.kind in HAZARDS else rules.classes.precedence
    by_name = {each.name: each for each in weighed}
    # max keeps the first of equals: of the hazards the one they come as, of the others the first in precedence.
    best = max((by_name[name] for name in allowed), key=lambda each: each.score)
    return best.category if best.score > 0 else by_name[default].category

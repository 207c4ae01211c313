"""
V7: who says so, how long ago, and has it been said before?
"""

from collections.abc import Iterator

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import SECOND_NS, number_of, text_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.freshness import age_of, recency_of
from omen_server.pipeline.rules.verdict import not_applicable, passed, rejected, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Peer, Snapshot, witness
from omen_server.pipeline.words import likeness, rarest


def news_quality(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Refuse articles that nobody should believe, that are old for what they are worth, or that repeat an earlier one.
    """
    if reading.kind is not Kind.NEWS:
        return not_applicable("The source is no news")
    limits = rules.news
    credibility, recency = credibility_of(reading, rules), rounded(recency_of(age_of(reading, snapshot), rules))
    product = rounded(credibility * recency)
    said = {"credibility": credibility, "recency": recency, "product": product, "boost": boost_of(product, rules)}
    for name, least in (
        ("credibility", limits.credibility_min),
        ("recency", limits.recency_min),
        ("product", limits.product_min),
    ):
        if said[name] < least:
            return rejected(product, f"The {name} of {said[name]:.4f} is below {least:.2f}", numbers=said)
    first = original_of(reading, rules, snapshot)
    if first is not None:
        return rejected(product, "Repeats an earlier article", [first.source_event_id], numbers=said)
    return passed(product, "Worth believing", numbers=said)


def credibility_of(reading: Reading, rules: Ruleset) -> float:
    """
    Return how far to believe an article: what its source says, else what is thought of its domain.
    """
    said = number_of(reading.raw, "credibility")
    if said is not None:
        return rounded(said) if said == said else 0.0  # noqa: PLR0124  NaN alone differs from itself.
    domain = text_of(reading.raw, "domain").lower().removeprefix("www.")
    return rules.news.credibility.get(domain, rules.news.credibility_default)


def boost_of(product: float, rules: Ruleset) -> float:
    """
    Return what an article's worth adds to confidence.
    """
    return rounded(rules.news.boost_max * product)


def original_of(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> Peer | None:
    """
    Return the first article that this one repeats. Of two that are alike the earlier is the original, then the ids
    decide; which one came here first does not.
    """
    limits, me = rules.news, witness(reading)
    earlier = [
        peer
        for peer in alike(me, snapshot, limits.duplicate_likeness)
        if peer.order < me.order and me.observed_ns - peer.observed_ns <= limits.duplicate_s_max * SECOND_NS
    ]
    return min(earlier, key=lambda peer: peer.order, default=None)


def alike(me: Peer, snapshot: Snapshot, least: float) -> Iterator[Peer]:
    """
    Yield the other articles whose titles are at least that much alike.
    """
    by_word = snapshot.articles
    few = rarest(me.words, lambda word: len(by_word.get(word, ())), least)
    for peer in {peer for word in few for peer in by_word.get(word, ())}:
        if (peer.source, peer.source_event_id) != (me.source, me.source_event_id) and likeness(
            me.words, peer.words
        ) >= least:
            yield peer

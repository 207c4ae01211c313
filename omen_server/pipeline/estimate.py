"""
How likely an event is: a market's price, or an estimate that says how it was made. Nothing stands in for a price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.attribute import field_of, number_of, text_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.cross_source import same_event
from omen_server.pipeline.rules.traffic import drop_of
from omen_server.pipeline.rules.verdict import rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot, witness
from omen_server.pipeline.words import likeness

MARKET_PRICE = "market_price"
CONTEXT_ONLY = "context_only"
AS_REPORTED = "as_reported"


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    A probability and where it comes from. A price's move has a method and no probability: it gives context only.
    """

    probability: float | None
    method: str

    @property
    def is_estimate(self) -> bool:
        """
        Whether no market says so.
        """
        return self.method != MARKET_PRICE


def estimate(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> Estimate | None:
    """
    Return how likely the event is; nothing where its source gives no ground to say so.
    """
    raw, found = reading.raw, None
    match reading.kind:
        case Kind.MARKET:
            found = _said(raw, MARKET_PRICE)
        case Kind.ALERT:
            found = _listed(rules.estimates.certainty, text_of(raw, "certainty"), "nws_certainty")
        case Kind.DISASTER:
            found = _listed(rules.estimates.disaster_level, text_of(raw, "alert_level"), "gdacs_alert_level")
        case Kind.QUAKE:
            found = _quake(reading, rules)
        case Kind.NEWS:
            found = _news(reading, rules, snapshot)
        case Kind.VESSELS | Kind.TRANSITS:
            found = _drop(reading, rules)
        case Kind.PRICE | Kind.FREIGHT:
            found = Estimate(None, CONTEXT_ONLY)
        case Kind.OTHER:
            found = _said(raw, AS_REPORTED)
    return found


def _said(raw: RawSignalEvent, method: str) -> Estimate | None:
    said = field_of(raw, "probability")
    return None if said is None else Estimate(said + 0.0, method)


def _listed(table: Mapping[str, float], word: str, method: str) -> Estimate | None:
    probability = table.get(word.strip().lower())
    return None if probability is None else Estimate(probability, method)


def _quake(reading: Reading, rules: Ruleset) -> Estimate | None:
    level = text_of(reading.raw, "alert")
    if level:
        return _listed(rules.estimates.quake_alert, level, "usgs_alert")
    magnitude = number_of(reading.raw, "magnitude")
    if magnitude is None or not magnitude >= rules.estimates.quake_magnitude_min:
        return None
    return Estimate(rules.estimates.quake_unrated, "usgs_magnitude")


def _news(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> Estimate:
    limits = rules.estimates
    count = len(domains_of(reading, rules, snapshot))
    probability = min(limits.news_max, limits.news_base + limits.news_per_domain * count)
    return Estimate(rounded(probability), "news_independent_domains")


def domains_of(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> list[str]:
    """
    Return the domains that tell of the event in words of their own, up to as many as make a difference.

    One that repeats another's article adds nothing.
    """
    limits, me = rules.estimates, witness(reading)
    enough = ceil((limits.news_max - limits.news_base) / limits.news_per_domain - 1e-9)
    found = {me.domain} - {""}
    told = [me.words]
    others = [*same_event(me, rules, snapshot), *same_event(me, rules, snapshot, own_voice=True)]
    articles = (peer for peer in others if peer.kind is Kind.NEWS and peer.domain)
    for peer in sorted(articles, key=lambda peer: (peer.order, peer.domain)):
        if len(found) >= enough:
            break
        if peer.domain in found:
            continue
        if all(likeness(peer.words, words) < rules.news.duplicate_likeness for words in told):
            found.add(peer.domain)
            told.append(peer.words)
    return sorted(found)


def _drop(reading: Reading, rules: Ruleset) -> Estimate | None:
    drop, limits = drop_of(reading), rules.estimates
    if drop is None:
        return None
    # Beyond 50 the logistic is 1 to the last digit, and exp would overflow for what no traffic can do.
    odds = exp(-max(-50.0, min(50.0, limits.drop_steepness * (drop - limits.drop_middle))))
    return Estimate(rounded(min(limits.drop_high, max(limits.drop_low, 1 / (1 + odds)))), "traffic_drop_logistic")

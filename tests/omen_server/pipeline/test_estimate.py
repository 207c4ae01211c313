from dataclasses import replace
from typing import Any

import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.estimate import Estimate, estimate
from omen_server.pipeline.reading import read
from omen_server.pipeline.snapshot import Snapshot, peer_of
from tests.omen_server.pipeline.raw_events import (
    NOT_APPLICABLE,
    NOTHING_KNOWN,
    NOW,
    REJECTED,
    RULES,
    alert,
    article,
    event,
    market,
    price,
    quake,
    report,
    transits,
    verdict,
    vessels,
)


def estimated(raw: RawSignalEvent, snapshot: Snapshot = NOTHING_KNOWN) -> Estimate | None:
    """
    Return an event's probability.
    """
    return estimate(read(raw, RULES), RULES, snapshot)


def probability(raw: RawSignalEvent, snapshot: Snapshot = NOTHING_KNOWN) -> float | None:
    """
    Return the number alone, of what no market says.
    """
    found = estimated(raw, snapshot)
    assert found is None or (found.is_estimate and found.method)
    return found.probability if found else None


@pytest.mark.parametrize("price_of_yes", [0.0, 0.01, 0.5, 1.0])
def test_market(price_of_yes: float) -> None:
    """
    A market's price is its probability, and no estimate.
    """
    assert estimated(market(probability=price_of_yes)) == Estimate(price_of_yes, "market_price")
    assert not Estimate(price_of_yes, "market_price").is_estimate


@pytest.mark.parametrize(
    ("certainty", "said"),
    [("Observed", 0.95), ("Likely", 0.70), ("Possible", 0.35), ("Unlikely", 0.05), ("Unknown", 0.50), ("likely", 0.70),
     ("", None), ("Sure", None)],
)  # fmt: skip
def test_alert(certainty: str, said: float | None) -> None:
    """
    An alert is as likely as its certainty says.
    """
    assert probability(alert(certainty=certainty)) == said


@pytest.mark.parametrize(("level", "said"), [("Green", 0.20), ("Orange", 0.60), ("RED", 0.90), ("Blue", None)])
def test_disaster(level: str, said: float | None) -> None:
    """
    A disaster is as likely to matter as its level says.
    """
    assert probability(event("gdacs", "x", attributes={"alert_level": level})) == said


@pytest.mark.parametrize(
    ("level", "magnitude", "said"),
    [
        ("green", 9.0, 0.10),
        ("yellow", None, 0.40),
        ("orange", 1.0, 0.70),
        ("red", 6.0, 0.90),
        (None, 6.0, 0.20),
        (None, 5.99, None),
        (None, None, None),
        (None, float("nan"), None),
        ("mauve", 9.0, None),
    ],
)
def test_quake(level: str | None, magnitude: float | None, said: float | None) -> None:
    """
    A quake is as likely to matter as its alert says; without one, only a strong quake is told at all.
    """
    raw = quake(alert=level, magnitude=magnitude)
    assert probability(raw) == said
    assert (verdict("estimate", raw).status == REJECTED) is (said is None)


@pytest.mark.parametrize(("domains", "said"), [(0, 0.30), (1, 0.40), (2, 0.50), (3, 0.60), (4, 0.60), (9, 0.60)])
def test_news(domains: int, said: float) -> None:
    """
    Each independent domain adds a tenth, up to 0.60.
    """
    shared = "Suez Canal closed to ships after the storm"
    others = [article(f"{shared} {'pqrstuvwx'[at]} {at} {at + 10}", f"article-{at + 2}", domain=f"d{at}.example")
              for at in range(domains)]  # fmt: skip
    snapshot = Snapshot(NOW, peers=tuple(peer_of(raw, RULES) for raw in others))
    assert probability(article(shared), snapshot) == said


def test_the_same_article_elsewhere_is_not_independent() -> None:
    """
    Neither the same words on another domain nor other words on the same one are a second witness.
    """
    title = "Suez Canal closed to ships after the storm of the year"
    copies = [article(title, f"copy-{at}", domain=f"copy{at}.example") for at in range(4)]
    again = article("Suez Canal closed to ships, say pilots now", "again")
    snapshot = Snapshot(NOW, peers=tuple(peer_of(raw, RULES) for raw in [*copies, again]))
    assert probability(article(title), snapshot) == 0.30
    assert probability(article(title, domain="")) == 0.20


@pytest.mark.parametrize(
    ("words", "said"),
    [("b c d e f g h", 0.30), ("b c d e f g", 0.40)],  # 8 and 7 of 10 are shared.
)
def test_independent_below_the_likeness_of_copies(words: str, said: float) -> None:
    """
    What is a copy for the news rule is one here.
    """
    other = article(f"Suez {words}", "other", domain="other.example")
    snapshot = Snapshot(NOW, peers=(peer_of(other, RULES),))
    assert probability(article("Suez b c d e f g h i j"), snapshot) == said


def test_its_own_earlier_state_is_no_witness() -> None:
    """
    The same article in other words, under another domain, is still the same article.
    """
    earlier = article("Suez Canal closed for days", "article-1", age_s=60, domain="other.example")
    snapshot = Snapshot(NOW, peers=(peer_of(earlier, RULES),))
    assert probability(article("Suez Canal closed to ships"), snapshot) == 0.30


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (transits(change_year_pct=-25.0), 0.5),
        (transits(change_year_pct=-35.0), 0.7311),
        (transits(change_year_pct=-50.0), 0.9241),
        (transits(change_year_pct=-54.0), 0.9478),
        (transits(change_year_pct=-55.0), 0.95),
        (transits(change_year_pct=-100.0), 0.95),
        (transits(change_year_pct=0.0, change_median_pct=0.0), 0.0759),
        (transits(change_year_pct=40.0, change_median_pct=40.0), 0.0759),
        (transits(change_year_pct=None, change_median_pct=None), None),
        (vessels(congestion_ratio=1.5), 0.6971),
        (vessels(congestion_ratio=4 / 3), 0.5),
        (vessels(congestion_ratio=1.5, delay_ratio=1e300), 0.95),
        (vessels(congestion_ratio=None), None),
        (vessels(congestion_ratio=0.0), None),
    ],
)
def test_traffic(raw: RawSignalEvent, said: float | None) -> None:
    """
    The logistic of the share that is gone, one half where a quarter is, within 0.05 and 0.95.
    """
    assert probability(raw) == said


def test_traffic_is_never_unlikely_beyond_its_bound() -> None:
    """
    No drop at all is no less than 0.05, also where the curve is steeper.
    """
    steep = replace(RULES, estimates=replace(RULES.estimates, drop_steepness=1e6))
    raw = transits(change_year_pct=0.0, change_median_pct=None)
    found = estimate(read(raw, steep), steep, NOTHING_KNOWN)
    assert found == Estimate(0.05, "traffic_drop_logistic")


@pytest.mark.parametrize("source", ["fred", "prices", "stock", "commodity", "freight"])
def test_prices_have_none(source: str) -> None:
    """
    A price's move gives context only, even where the event brings a number along.
    """
    raw = event(source, "x", probability=0.7, attributes={"change_pct": 50.0})
    assert estimated(raw) == Estimate(None, "context_only")
    assert verdict("estimate", raw).status == NOT_APPLICABLE
    assert probability(price()) is None


def test_others_say_their_own() -> None:
    """
    A report's own number is passed on as an estimate; without one there is nothing to say.
    """
    assert estimated(report(probability=0.4)) == Estimate(0.4, "as_reported")
    assert estimated(report(probability=0.0)) == Estimate(0.0, "as_reported")
    assert estimated(report()) is None


@pytest.mark.parametrize("fields", [{"probability": 0.77}])
def test_a_hazard_does_not_bring_its_own(fields: dict[str, Any]) -> None:
    """
    What the table says goes before a number that a caller made up.
    """
    raw = alert()
    raw.probability = fields["probability"]
    assert probability(raw) == 0.70

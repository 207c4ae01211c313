from itertools import permutations

import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.reading import read
from omen_server.pipeline.snapshot import Snapshot, of_batch, peer_of
from tests.omen_server.pipeline.raw_events import (
    NOT_APPLICABLE,
    NOW,
    PASSED,
    REJECTED,
    RULES,
    article,
    event,
    market,
    verdict,
)

HOUR = 3_600
TEN = "one two three four five six seven eight nine ten"


def among(*peers: RawSignalEvent) -> Snapshot:
    """
    Return a snapshot that knows these events.
    """
    return Snapshot(NOW, peers=tuple(peer_of(peer, RULES) for peer in peers))


@pytest.mark.parametrize(
    ("credibility", "age_s", "status"),
    [
        (0.30, 0, PASSED),
        (0.2999, 0, REJECTED),
        (1.0, 2.3 * 24 * HOUR, PASSED),
        (0.4, 24 * HOUR, PASSED),
        (0.3999, 24 * HOUR, REJECTED),
        (1.0, 3.3 * 24 * HOUR, REJECTED),
        (float("nan"), 0, REJECTED),
        (7.0, 0, PASSED),
        (-1.0, 0, REJECTED),
    ],
)
def test_worth(credibility: float, age_s: float, status: int) -> None:
    """
    Credibility of at least 0.30, and 0.20 of it left after its age.
    """
    assert verdict("news_quality", article(credibility=credibility, age_s=age_s)).status == status


def test_each_limit_names_itself() -> None:
    """
    The reason says whether it was credibility, recency or their product.
    """
    assert "credibility" in verdict("news_quality", article(credibility=0.2)).reason
    assert "product" in verdict("news_quality", article(credibility=0.5, age_s=48 * HOUR)).reason
    days = 3.3219  # Half as much a day: a tenth is left.
    assert "product" in verdict("news_quality", article(credibility=1.0, age_s=days * 24 * HOUR)).reason
    assert "recency" in verdict("news_quality", article(credibility=1.0, age_s=(days + 0.01) * 24 * HOUR)).reason


@pytest.mark.parametrize(
    ("domain", "credibility"),
    [
        ("reuters.com", 0.95),
        ("www.Reuters.com", 0.95),
        ("zerohedge.com", 0.2),
        ("nobody.example", 0.5),
        ("", 0.5),
        ("notreuters.com", 0.5),
    ],
)
def test_domain(domain: str, credibility: float) -> None:
    """
    A known domain has its own credibility, any other the default.
    """
    assert verdict("news_quality", article(domain=domain)).parameters["credibility"] == credibility


def test_table_of_domains() -> None:
    """
    The opinions on single domains are these.
    """
    assert dict(RULES.news.credibility) == {
        "aljazeera.com": 0.80,
        "apnews.com": 0.95,
        "bbc.co.uk": 0.90,
        "bbc.com": 0.90,
        "bloomberg.com": 0.90,
        "cnbc.com": 0.80,
        "economist.com": 0.90,
        "ft.com": 0.90,
        "gcaptain.com": 0.80,
        "joc.com": 0.85,
        "lloydslist.com": 0.90,
        "maritime-executive.com": 0.80,
        "nytimes.com": 0.85,
        "reuters.com": 0.95,
        "seatrade-maritime.com": 0.80,
        "splash247.com": 0.75,
        "theguardian.com": 0.85,
        "tradewindsnews.com": 0.85,
        "wsj.com": 0.90,
        "zerohedge.com": 0.20,
    }


@pytest.mark.parametrize(
    ("credibility", "age_s", "boost"), [(1.0, 0, 0.1), (0.5, 0, 0.05), (1.0, 24 * HOUR, 0.05), (9.0, -60, 0.1)]
)
def test_boost(credibility: float, age_s: float, boost: float) -> None:
    """
    An article's worth adds a tenth of itself, never more than 0.10.
    """
    assert verdict("news_quality", article(credibility=credibility, age_s=age_s)).parameters["boost"] == boost


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (TEN, TEN, REJECTED),
        # 8 of 10 are shared: exactly 0.80.
        ("a b c d e f g h", "a b c d e f g h i j", REJECTED),
        # 7 of 9: 0.78.
        ("a b c d e f g", "a b c d e f g h i", PASSED),
        ("a b c d e f g h", "A, B; c d e f g h!", REJECTED),
        ("a b c d e f g h", "abc def gh", PASSED),
    ],
)
def test_near_duplicates(first: str, second: str, status: int) -> None:
    """
    Titles that share four words in five are the same article.
    """
    snapshot = among(article(first, "article-0", age_s=60))
    assert verdict("news_quality", article(second, "article-1"), snapshot).status == status


@pytest.mark.parametrize(("apart_s", "status"), [(72 * HOUR, REJECTED), (72 * HOUR + 1, PASSED)])
def test_duplicates_within_72_hours(apart_s: int, status: int) -> None:
    """
    After 72 hours the same words are news again.
    """
    snapshot = among(article(TEN, "article-0", age_s=apart_s))
    assert verdict("news_quality", article(TEN, "article-1"), snapshot).status == status


def test_only_the_later_is_the_duplicate() -> None:
    """
    Of two that are alike the earlier stays, whatever order they came in; of two at one time the smaller id does.
    """
    one, other = article(TEN, "article-0", age_s=60), article(TEN, "article-1")
    for order in permutations([one, other]):
        snapshot = among(*order)
        assert verdict("news_quality", one, snapshot).status == PASSED
        assert verdict("news_quality", other, snapshot).status == REJECTED
        assert list(verdict("news_quality", other, snapshot).matches) == ["article-0"]
    twin = article(TEN, "article-2")
    assert verdict("news_quality", other, among(other, twin)).status == PASSED
    assert verdict("news_quality", twin, among(other, twin)).status == REJECTED


def test_no_duplicate_of_itself() -> None:
    """
    The same article in an earlier state is no duplicate, and a market with the same words is none either.
    """
    snapshot = among(article(TEN, age_s=60), market(TEN, source_event_id="m"))
    assert verdict("news_quality", article(TEN), snapshot).status == PASSED


def test_search_by_rare_words_misses_nothing() -> None:
    """
    The short way to what is alike finds the same as asking every article.
    """
    titles = [" ".join("abcdefghijklmnop"[start : start + length]) for start in range(6) for length in range(1, 11)]
    batch = [article(title, f"article-{at:03}", age_s=1_000 - at) for at, title in enumerate(titles)]
    snapshot = of_batch(NOW, [read(raw, RULES) for raw in batch])
    for at, raw in enumerate(batch):
        words = set(titles[at].split())
        earlier = [set(title.split()) for title in titles[:at]]
        repeats = any(len(words & other) / len(words | other) >= 0.8 for other in earlier)
        assert (verdict("news_quality", raw, snapshot).status == REJECTED) is repeats, titles[at]


def test_no_news() -> None:
    """
    Of what is no news the rule says nothing.
    """
    assert verdict("news_quality", event("usgs", "x")).status == NOT_APPLICABLE

import pytest

from omen_server.pipeline.sources import clob
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons


def test_best_prices() -> None:
    """
    The best bid is the largest and the best ask the smallest, though neither comes first.
    """
    event = only("clob/book.json")
    assert (event.market.best_bid, event.market.best_ask, event.market.spread) == (0.33, 0.37, 0.04)
    assert attributes(event)["midpoint"] == 0.35
    assert event.market.negative_risk
    assert event.source == "polymarket"


def test_one_side() -> None:
    """
    A side without orders has no best price, and there is neither spread nor midpoint; an order of size zero is none.
    """
    event = only("clob/book_one_sided.json")
    assert not event.market.HasField("best_bid")
    assert event.market.best_ask == 0.9
    assert not event.market.HasField("spread")
    assert "midpoint" not in attributes(event)


def test_one_bad_book() -> None:
    """
    A book with a price that is no number is skipped, the next is read.
    """
    assert set(by_id("clob/books_one_bad.json")) == {"book:7134"}
    assert "[0].bids[0].price: is no number" in reasons(goldens.parse("clob/books_one_bad.json"))


def test_no_probability_of_a_token() -> None:
    """
    A token is Yes or No and does not say which: its price is nobody's probability.
    """
    for name in ("book", "midpoint", "history"):
        assert not only(f"clob/{name}.json").HasField("probability")
    assert attributes(only("clob/midpoint.json"))["midpoint"] == 0.0455


def test_history() -> None:
    """
    A history ends with its newest point, is marked as filled forward, and compares with what is a day older.
    """
    event = only("clob/history.json")
    assert event.observed_at.seconds == 1786874400
    said = attributes(event)
    assert (said["points"], said["forward_filled"], said["change_24h"]) == (4, True, 0.09)
    assert said["history"][-1] == ["2026-08-16T10:00:00Z", 0.31]


def test_who_won() -> None:
    """
    The truth of a resolved market is its winning token; an open one has none, and no price where there is none.
    """
    resolved, still_open = only("clob/market_resolved.json"), only("clob/market_open.json")
    assert attributes(resolved)["winner"] == "Yes"
    assert resolved.market.closed
    assert resolved.probability == 1.0
    assert "winner" not in attributes(still_open)
    assert not still_open.HasField("probability")
    assert attributes(still_open)["outcome_prices"] == [None, 0.4]


def test_token_only_in_the_address() -> None:
    """
    A midpoint whose address names no token is of nothing.
    """
    parsed = clob.parse(b'{"mid":"0.5"}', goldens.FETCHED_AT, "https://clob.polymarket.com/midpoint")
    assert parsed.events == ()
    assert "does not name its token" in parsed.skipped[0].reason


def test_errors() -> None:
    """
    An error object is a refusal, a number is malformed.
    """
    with pytest.raises(SourceRefused, match="No orderbook exists"):
        clob.parse(b'{"error":"No orderbook exists for the requested token id"}', goldens.FETCHED_AT, "")
    with pytest.raises(SourceMalformed):
        clob.parse(b"[1]", goldens.FETCHED_AT, "")

from datetime import UTC, datetime

import pytest

from omen_server.pipeline.sources import polymarket
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused
from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons

URL = "https://gamma-api.polymarket.com/markets/keyset"


def test_lists_in_strings_or_not() -> None:
    """
    Outcomes, prices and tokens are lists, whether the source writes them as lists or as JSON in strings.
    """
    in_strings, as_lists = only("polymarket/market_page.json"), only("polymarket/lists_as_arrays.json")
    assert list(in_strings.market.outcomes) == list(as_lists.market.outcomes) == ["Yes", "No"]
    assert list(as_lists.market.outcome_prices) == [0.2, 0.8]
    assert attributes(in_strings)["clob_token_ids"] == ["1111", "2222"]
    assert attributes(as_lists)["clob_token_ids"] == ["3333", "4444"]


def test_yes_by_name() -> None:
    """
    The probability is the price of Yes, also where No comes first.
    """
    event = only("polymarket/no_comes_first.json")
    assert event.probability == 0.1
    assert list(event.market.outcome_prices) == [0.9, 0.1]


def test_missing_prices_stay_missing() -> None:
    """
    Nothing takes the place of a missing price: no 0.5, no other outcome's, no shifted list.
    """
    events = by_id("polymarket/null_prices.json")
    assert {name for name, event in events.items() if event.HasField("probability")} == {"513"}
    assert all(not event.market.outcome_prices for event in events.values())
    assert attributes(events["512"])["outcome_prices"] == [None, 0.4]
    assert attributes(events["513"])["outcome_prices"] == [0.6, None]


def test_volumes() -> None:
    """
    Volumes come as numbers or text; none is none, and zero is zero.
    """
    events = by_id("polymarket/volumes.json")
    assert (events["520"].market.volume_usd, events["520"].market.liquidity_usd) == (125000.5, 40100.25)
    assert (events["521"].market.volume_usd, events["521"].market.liquidity_usd) == (77.5, 88.0)
    assert not events["522"].market.HasField("volume_usd")
    assert not events["522"].market.HasField("liquidity_usd")
    assert events["523"].market.HasField("volume_usd")
    assert events["523"].market.volume_usd == 0.0


def test_closed_time() -> None:
    """
    A market may be active and closed; it ended when it closed, not when that was announced for.
    """
    market = only("polymarket/closed_while_active.json").market
    assert (market.active, market.closed, market.accepting_orders) == (True, True, False)
    assert market.end_at.ToDatetime(UTC) == datetime(2026, 6, 4, 0, 34, 19, tzinfo=UTC)
    said = attributes(only("polymarket/closed_while_active.json"))
    assert said["closed_at"] == "2026-06-04T00:34:19Z"
    assert said["end_date"] == "2026-12-31T12:00:00Z"


def test_little_said() -> None:
    """
    What is not said is not there, rather than false or zero; an id may be a number.
    """
    event = only("polymarket/sparse.json")
    assert event.source_event_id == "540"
    assert [field.name for field, _ in event.market.ListFields()] == ["outcomes"]
    assert not event.HasField("probability")
    assert not event.HasField("location")


def test_other_outcomes() -> None:
    """
    A market that is not Yes or No is read with its outcomes, so that a rule can refuse it; no price is its probability.
    """
    events = by_id("polymarket/not_yes_no.json")
    assert list(events["550"].market.outcomes) == ["Suez", "Panama", "Kiel"]
    assert list(events["550"].market.outcome_prices) == [0.5, 0.3, 0.2]
    assert not any(event.HasField("probability") for event in events.values())


def test_group() -> None:
    """
    A group of which one can win is one event a market, each with its own figures, and all of them say so.
    """
    events = by_id("polymarket/neg_risk_group.json")
    assert all(event.market.negative_risk for event in events.values())
    assert [event.market.liquidity_usd for event in events.values()] == [900.5, 40100.25, 40100.25]
    assert [attributes(event)["group_item_title"] for event in events.values()] == ["Hormuz", "Malacca", "Gibraltar"]
    assert {attributes(event)["event_id"] for event in events.values()} == {"9010"}


def test_pages() -> None:
    """
    The cursor of the next page is told; the one that means the end is not.
    """
    assert goldens.parse("polymarket/event_page.json").next_page == "abc123=="
    assert goldens.parse("polymarket/market_page.json").next_page == ""


def test_one_bad_market() -> None:
    """
    A bad market is named with its place; the others are there.
    """
    parsed = goldens.parse("polymarket/one_bad_of_three.json")
    assert [event.source_event_id for event in parsed.events] == ["570", "579"]
    assert "markets[1].outcomePrices[0]: is no number" in reasons(parsed)
    assert len(parsed.skipped) == 9


def test_hostile_text() -> None:
    """
    A title is one line of at most 500 characters, a description keeps its lines, an address stays on its site.
    """
    event = only("polymarket/hostile_text.json")
    assert len(event.title) == 500
    assert event.title.startswith("Line break and control [31m? xx")
    assert event.title.endswith("…")
    assert event.description == "keeps\n\tits lines\nbut no bells"
    assert event.url == "https://polymarket.com/event/..%2F..%2Fevil%3Fx%3D%3Cy%3E"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"next_cursor": "x"}', b"3", b'{"events": 3}', b'{"events": [], "next_cursor": []}']
)
def test_neither_events_nor_markets(body: bytes) -> None:
    """
    An answer of another shape is malformed, not empty.
    """
    with pytest.raises(SourceMalformed):
        polymarket.parse(body, goldens.FETCHED_AT, URL)


def test_its_own_error() -> None:
    """
    What the source says in place of data is told.
    """
    with pytest.raises(SourceRefused, match="offset too large"):
        polymarket.parse(b'{"type":"validation error","error":"offset too large"}', goldens.FETCHED_AT, URL)


def test_no_markets() -> None:
    """
    An answer without markets holds no events; an event without any is told.
    """
    assert polymarket.parse(b'{"events":[],"next_cursor":null}', goldens.FETCHED_AT, URL).events == ()
    parsed = polymarket.parse(b'[{"id":"1","title":"x","markets":[]}]', goldens.FETCHED_AT, URL)
    assert reasons(parsed) == ["[0].markets: is empty"]

"""
Polymarket's Gamma API: events, each with its markets, and markets by themselves; pages, lists or one alone.

Every market becomes one event, also one of a group of which only one can win. The probability is the price of the
outcome called Yes, wherever that stands; a market without it gets none, and one of other outcomes neither.

Attributes: condition_id, slug, group_item_title, neg_risk, tags, resolution_source, uma_statuses, clob_token_ids,
created_at, updated_at, start_at, end_date (as announced), closed_at (as it happened), volume_week_usd,
volume_month_usd, one_week_change, one_month_change, outcome_prices (with nulls, where one is missing), event_id,
event_slug, event_title, event_liquidity_usd, event_volume_usd, event_markets.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from omen.v1.signal_pb2 import MarketFigures, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import write_moment
from omen_server.pipeline.sources.node import LIST_ITEMS_MAX, Node, Unfit, read_json, whole
from omen_server.pipeline.sources.source import Parsed, SourceMalformed, SourceRefused

NAME = "polymarket"
LICENCE = "Polymarket terms of service"
PAGE = "https://polymarket.com/event/"
NO_MORE = "LTE="
NOBODY = Node({}, "")


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read an answer of Gamma. A price is true when it is fetched, so that is when it was observed.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    nodes, next_page = items(read_json(NAME, body))
    harvest.gather(nodes, partial(one, harvest))
    return harvest.parsed(next_page)


def items(root: Node) -> tuple[list[Node], str]:
    """
    Return the events or markets of an answer, and the cursor of the next page.
    """
    with whole(NAME):
        if isinstance(root.value, list):
            return root.nodes(), ""
        if root["id"].value is not None:
            return [root], ""
        for kind in ("events", "markets"):
            if root[kind].value is not None:
                cursor = root["next_cursor"].maybe_text()
                return root[kind].nodes(), "" if cursor == NO_MORE else cursor
    if root.value.get("error") is not None or root.value.get("type") is not None:
        raise SourceRefused(NAME, "error", str(root.value.get("error") or root.value["type"])[:200])
    raise SourceMalformed(NAME, "", "holds neither events nor markets")


def one(harvest: Harvest, node: Node) -> Iterator[RawSignalEvent]:
    """
    Yield the market, or the markets of an event. A bad market of an event loses none of its brothers.
    """
    if node["markets"].value is None:
        parents = node["events"].nodes()
        yield market(harvest, node, parents[0] if parents else NOBODY)
        return
    brothers = node["markets"].nodes()
    if not brothers:
        raise Unfit(node["markets"].place, "is empty")
    if len(brothers) > LIST_ITEMS_MAX:
        harvest.skip(
            node["markets"].place, f"{len(brothers) - LIST_ITEMS_MAX} markets after the first {LIST_ITEMS_MAX}"
        )
    for brother in brothers[:LIST_ITEMS_MAX]:
        try:
            yield market(harvest, brother, node)
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)


def market(harvest: Harvest, node: Node, parent: Node) -> RawSignalEvent:
    """
    Return one market as an event.
    """
    outcomes = [item.text() for item in node["outcomes"].decoded().nodes()[:LIST_ITEMS_MAX]]
    prices = [item.maybe_number() for item in node["outcomePrices"].decoded().nodes()[:LIST_ITEMS_MAX]]
    if prices and len(prices) != len(outcomes):
        raise Unfit(node["outcomePrices"].place, f"has {len(prices)} prices for {len(outcomes)} outcomes")
    slug = parent["slug"].maybe_text() or node["slug"].maybe_text()
    event = harvest.event(
        node["id"].name(),
        node["question"].text(),
        harvest.fetched_at,
        description=node["description"].maybe_prose() or parent["description"].maybe_prose(),
        url=PAGE + quote(slug, safe="") if slug else "",
        attributes=[*of_market(node), *of_event(parent)],
    )
    event.market.CopyFrom(figures(node, parent, outcomes))
    if None in prices:
        # A list of numbers cannot say that one is missing, and leaving it out would move the others.
        event.attributes["outcome_prices"] = prices
    else:
        event.market.outcome_prices.extend(price for price in prices if price is not None)
    price = yes_price(outcomes, prices)
    if price is not None:
        event.probability = price
    return event


def yes_price(outcomes: list[str], prices: list[float | None]) -> float | None:
    """
    Return the price of Yes in a market of Yes and No. There is none where the source says none.
    """
    if sorted(outcomes) != ["No", "Yes"] or not prices:
        return None
    return prices[outcomes.index("Yes")]


def figures(node: Node, parent: Node, outcomes: list[str]) -> MarketFigures:
    """
    Return a market's own figures; never those of the event around it.
    """
    grouped = node["negRisk"].maybe_flag()
    known: dict[str, Any] = {
        "liquidity_usd": first_number(node, "liquidityNum", "liquidity"),
        "volume_usd": first_number(node, "volumeNum", "volume"),
        "volume_24h_usd": node["volume24hr"].maybe_number(),
        "best_bid": node["bestBid"].maybe_number(),
        "best_ask": node["bestAsk"].maybe_number(),
        "spread": node["spread"].maybe_number(),
        "last_trade_price": node["lastTradePrice"].maybe_number(),
        "one_day_change": node["oneDayPriceChange"].maybe_number(),
        # The announced end is nominal: a market may close days earlier or later.
        "end_at": node["closedTime"].maybe_moment() or node["endDate"].maybe_moment(),
        "active": node["active"].maybe_flag(),
        "closed": node["closed"].maybe_flag(),
        "archived": node["archived"].maybe_flag(),
        "accepting_orders": node["acceptingOrders"].maybe_flag(),
        "negative_risk": parent["negRisk"].maybe_flag() if grouped is None else grouped,
    }
    return MarketFigures(outcomes=outcomes, **{name: value for name, value in known.items() if value is not None})


def first_number(node: Node, *keys: str) -> float | None:
    """
    Return the first number said under *keys*.
    """
    return next((number for key in keys if (number := node[key].maybe_number()) is not None), None)


def of_market(node: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield what else is said of a market.
    """
    yield "condition_id", node["conditionId"].maybe_text()
    yield "slug", node["slug"].maybe_text()
    yield "group_item_title", node["groupItemTitle"].maybe_text()
    yield "resolution_source", node["resolutionSource"].maybe_text()
    yield "uma_statuses", node["umaResolutionStatuses"].decoded().maybe_texts()
    yield "clob_token_ids", node["clobTokenIds"].decoded().maybe_texts()
    for name, key in (
        ("created_at", "createdAt"),
        ("updated_at", "updatedAt"),
        ("start_at", "startDate"),
        ("end_date", "endDate"),
        ("closed_at", "closedTime"),
    ):
        moment = node[key].maybe_moment()
        yield name, moment and write_moment(moment)
    yield "volume_week_usd", node["volume1wk"].maybe_number()
    yield "volume_month_usd", node["volume1mo"].maybe_number()
    yield "one_week_change", node["oneWeekPriceChange"].maybe_number()
    yield "one_month_change", node["oneMonthPriceChange"].maybe_number()


def of_event(node: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield what is said of the event around a market.
    """
    yield "event_id", node["id"].maybe_text()
    yield "event_slug", node["slug"].maybe_text()
    yield "event_title", node["title"].maybe_text()
    yield "event_liquidity_usd", node["liquidity"].maybe_number()
    yield "event_volume_usd", node["volume"].maybe_number()
    yield "event_markets", len(node["markets"].nodes()) or None
    yield "tags", sorted({tag["label"].maybe_text() for tag in node["tags"].nodes()[:LIST_ITEMS_MAX]} - {""})

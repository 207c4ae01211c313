"""
Polymarket's order books (CLOB): a book or several, a midpoint, a price history, a market.

A book, a midpoint and a history belong to one token, which is one outcome of a market and does not say which: they
carry figures and no probability. A market names its outcomes; its probability is the price of Yes.

Attributes: kind (book, midpoint, history or market), token_id, condition_id, midpoint, bid_levels, ask_levels,
bid_size, ask_size, tick_size, minimum_order_size, change_24h, points, forward_filled, history (the last 100 as
[time, price]), winner, outcome_prices (with nulls, where one is missing), slug, end_date.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources import polymarket
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import from_epoch, write_moment
from omen_server.pipeline.sources.node import ITEMS_MAX, LIST_ITEMS_MAX, NAME_CHARS_MAX, Node, Unfit, line, read_json
from omen_server.pipeline.sources.polymarket import NAME, yes_price
from omen_server.pipeline.sources.source import Parsed, SourceMalformed, SourceRefused

HISTORY_MAX = 100
DAY = timedelta(days=1)


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read an answer of the CLOB.
    """
    harvest = Harvest(NAME, fetched_at, url, polymarket.LICENCE)
    root = read_json(NAME, body)
    nodes = root.nodes() if isinstance(root.value, list) else [root]
    if not all(isinstance(node.value, dict) for node in nodes):
        raise SourceMalformed(NAME, "", "is neither an object nor a list of them")
    if len(nodes) == 1 and nodes[0].value.get("error") is not None:
        raise SourceRefused(NAME, "error", line(str(nodes[0].value["error"]), 200))
    harvest.gather(nodes, partial(one, harvest))
    return harvest.parsed()


def one(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return what an answer says, whichever it is.
    """
    if "bids" in node.value or "asks" in node.value:
        return book(harvest, node)
    if "mid" in node.value:
        return midpoint(harvest, node)
    if "history" in node.value:
        return history(harvest, node)
    if "tokens" in node.value:
        return market(harvest, node)
    raise Unfit(node.place, "is no book, midpoint, history or market")


def book(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return a book. The best bid is the largest and the best ask the smallest, wherever they stand.
    """
    token = node["asset_id"].name()
    bids, asks = list(levels(node["bids"])), list(levels(node["asks"]))
    bid = max((price for price, _ in bids), default=None)
    ask = min((price for price, _ in asks), default=None)
    stamp = node["timestamp"].maybe_moment_ms()
    both = bid is not None and ask is not None
    event = harvest.event(
        f"book:{token}",
        line(f"Order book of token {token}"),
        stamp or harvest.fetched_at,
        attributes=[
            ("kind", "book"),
            ("token_id", token),
            ("condition_id", node["market"].maybe_text()),
            ("midpoint", round((bid + ask) / 2, 6) if bid is not None and ask is not None else None),
            ("bid_levels", len(bids)),
            ("ask_levels", len(asks)),
            ("bid_size", round(sum(size for _, size in bids), 6) if bids else None),
            ("ask_size", round(sum(size for _, size in asks), 6) if asks else None),
            ("tick_size", node["tick_size"].maybe_number()),
            ("minimum_order_size", node["min_order_size"].maybe_number()),
        ],
    )
    last = node["last_trade_price"].maybe_number()
    grouped = node["neg_risk"].maybe_flag()
    if bid is not None:
        event.market.best_bid = bid
    if ask is not None:
        event.market.best_ask = ask
    if both:
        event.market.spread = round(event.market.best_ask - event.market.best_bid, 6) + 0.0
    if last is not None:
        event.market.last_trade_price = last
    if grouped is not None:
        event.market.negative_risk = grouped
    return event


def levels(side: Node) -> Iterator[tuple[float, float]]:
    """
    Yield price and size of every level of one side. A level that says neither price nor size spoils the book.
    """
    nodes = side.nodes()
    if len(nodes) > ITEMS_MAX:
        raise Unfit(side.place, f"has {len(nodes)} levels, {ITEMS_MAX} at most")
    for node in nodes:
        price, size = node["price"].number(), node["size"].number()
        if not 0 <= price <= 1 or not 0 <= size <= 1e15:
            raise Unfit(node.place, "is no level of a book")
        if size > 0:
            yield price, size


def midpoint(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return the midpoint of the token that the address names.
    """
    token = asked(harvest.url, "token_id")
    return harvest.event(
        f"midpoint:{token}",
        line(f"Midpoint of token {token}"),
        harvest.fetched_at,
        attributes=[("kind", "midpoint"), ("token_id", token), ("midpoint", node["mid"].number())],
    )


def history(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return the prices of the token that the address names: midpoints, the last one repeated where nothing moved.
    """
    token = asked(harvest.url, "market")
    nodes = node["history"].nodes()
    if not nodes:
        raise Unfit(node["history"].place, "is empty")
    if len(nodes) > ITEMS_MAX:
        raise Unfit(node["history"].place, f"has {len(nodes)} points, {ITEMS_MAX} at most")
    points: dict[datetime, float] = {}
    for each in nodes:
        try:
            seconds = each["t"].number()
            points[each["t"].read(partial(from_epoch, seconds))] = each["p"].number()
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
    times = sorted(points)
    if not times:
        raise Unfit(node["history"].place, "has no point with a time and a price")
    event = harvest.event(
        f"history:{token}",
        line(f"Price history of token {token}"),
        times[-1],
        attributes=[
            ("kind", "history"),
            ("token_id", token),
            ("points", len(times)),
            ("forward_filled", True),
            ("change_24h", change(points, times)),
            ("history", [[write_moment(time), points[time]] for time in times[-HISTORY_MAX:]]),
        ],
    )
    event.market.last_trade_price = points[times[-1]]
    return event


def change(points: dict[datetime, float], times: list[datetime]) -> float | None:
    """
    Return the price's change against the newest one that is a day older; None where the history is shorter.
    """
    older = [time for time in times if times[-1] - time >= DAY]
    return round(points[times[-1]] - points[older[-1]], 6) + 0.0 if older else None


def market(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return a market. What came true is the outcome whose token won.
    """
    condition = node["condition_id"].name()
    tokens = node["tokens"].nodes()[:LIST_ITEMS_MAX]
    outcomes = [token["outcome"].text(NAME_CHARS_MAX) for token in tokens]
    prices = [token["price"].maybe_number() for token in tokens]
    winners = [name for name, token in zip(outcomes, tokens, strict=True) if token["winner"].maybe_flag()]
    end = node["end_date_iso"].maybe_moment()
    event = harvest.event(
        f"market:{condition}",
        node["question"].maybe_text() or line(f"Market {condition}"),
        harvest.fetched_at,
        description=node["description"].maybe_prose(),
        attributes=[
            ("kind", "market"),
            ("condition_id", condition),
            ("slug", node["market_slug"].maybe_text()),
            ("winner", winners[0] if len(winners) == 1 else None),
            ("outcome_prices", prices if None in prices else None),
            *state(node, end),
        ],
    )
    event.market.outcomes.extend(outcomes)
    if None not in prices:
        event.market.outcome_prices.extend(price for price in prices if price is not None)
    if end is not None:
        event.market.end_at.FromDatetime(end)
    for name, key in (
        ("active", "active"),
        ("closed", "closed"),
        ("archived", "archived"),
        ("accepting_orders", "accepting_orders"),
        ("negative_risk", "neg_risk"),
    ):
        flag = node[key].maybe_flag()
        if flag is not None:
            setattr(event.market, name, flag)
    price = yes_price(outcomes, prices)
    if price is not None:
        event.probability = price
    return event


def state(node: Node, end: datetime | None) -> Iterator[tuple[str, Any]]:
    """
    Yield what else is said of a market.
    """
    yield "end_date", end and write_moment(end)
    yield "tick_size", node["minimum_tick_size"].maybe_number()
    yield "minimum_order_size", node["minimum_order_size"].maybe_number()


def asked(url: str, name: str) -> str:
    """
    Return the token that an address asks for.
    """
    try:
        token = parse_qs(urlsplit(url).query).get(name, [""])[0]
    except ValueError:
        token = ""
    if not token.isalnum() or len(token) > NAME_CHARS_MAX - 20:
        raise Unfit("", f"the answer does not name its token, and neither does the address ({name}=)")
    return token

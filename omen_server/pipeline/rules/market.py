"""
V1 and V2: does the market trade, and is there money behind its price?
"""

from math import log10

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import field_of, ns_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import Numbers, not_applicable, passed, rejected, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot
from omen_server.pipeline.thresholds import Liquidity

NO_MARKET = "The source is no prediction market"
# Prices are decimals; what their differences gain in binary lies far below this.
PRICE_DIGITS = 9


def market_state(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Refuse a market that is over, that is none of Yes and No, or that says no price. Nothing stands in for a price.
    """
    if reading.kind is not Kind.MARKET:
        return not_applicable(NO_MARKET)
    market = reading.raw.market
    for refused, reason in (
        (market.closed, "The market is closed"),
        (market.archived, "The market is archived"),
        # What a source does not say is not held against the market.
        (market.HasField("accepting_orders") and not market.accepting_orders, "The market takes no orders"),
        (market.HasField("active") and not market.active, "The market is not active"),
    ):
        if refused:
            return rejected(0.0, reason)
    if market.HasField("end_at") and ns_of(market.end_at) < snapshot.as_of_ns:
        return rejected(0.0, "The market's end lies in the past")
    if tuple(sorted(market.outcomes)) != rules.market.outcomes:
        return rejected(0.0, "The market's outcomes are not exactly Yes and No")
    if not reading.raw.HasField("probability"):
        return rejected(0.0, "The market says no price")
    return passed(1.0, "The market trades", numbers={"probability": reading.raw.probability})


def liquidity(reading: Reading, rules: Ruleset, _: Snapshot) -> RuleVerdict:
    """
    Refuse a market without money behind it, or with a gap between its prices; score the rest by the money's magnitude.
    """
    if reading.kind is not Kind.MARKET:
        return not_applicable(NO_MARKET)
    limits, market = rules.liquidity, reading.raw.market
    money, volume, spread = field_of(market, "liquidity_usd"), field_of(market, "volume_usd"), spread_of(reading)
    said: Numbers = {
        "liquidity_usd": money,
        "volume_usd": volume,
        "spread": spread,
        "liquidity_usd_min": limits.usd_min,
    }
    if money is None:
        return rejected(0.0, "The market does not say its liquidity", numbers=said)
    score = score_of(money, volume, spread, limits)
    if money < limits.usd_min:
        return rejected(score, f"Liquidity of {money:.2f} USD is below {limits.usd_min:.2f}", numbers=said)
    if spread is not None and spread > limits.spread_max:
        return rejected(score, f"A spread of {spread:.3f} is above {limits.spread_max:.2f}", numbers=said)
    return passed(score, f"Liquidity of {money:.2f} USD", numbers=said)


def score_of(money: float, volume: float | None, spread: float | None, limits: Liquidity) -> float:
    """
    Return 0.25 at the least money, 0.25 more for each tenfold, less for little volume and for a wide spread.
    """
    if money <= 0:
        return 0.0
    score = min(1.0, limits.score_at_min + limits.score_per_decade * (log10(money) - log10(limits.usd_min)))
    if volume is not None and volume < limits.volume_usd_low:
        score *= limits.volume_factor
    if spread is not None and spread > limits.spread_wide:
        score *= limits.spread_factor
    return rounded(score)


def spread_of(reading: Reading) -> float | None:
    """
    Return the distance between the best prices: the market's own word, else by subtraction.
    """
    market = reading.raw.market
    if market.HasField("spread"):
        return round(market.spread, PRICE_DIGITS)
    bid, ask = field_of(market, "best_bid"), field_of(market, "best_ask")
    return None if bid is None or ask is None else round(ask - bid, PRICE_DIGITS)

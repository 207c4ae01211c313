"""
V3: does the price look made?
"""

from collections.abc import Iterator
from math import fsum, sqrt

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import field_of
from omen_server.pipeline.history import Series, key_of
from omen_server.pipeline.profiles import Kind
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.market import NO_MARKET, PRICE_DIGITS
from omen_server.pipeline.rules.verdict import not_applicable, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot
from omen_server.pipeline.thresholds import Anomaly


def anomaly(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Count points for all that is odd about a market's price; refuse it when they are many.
    """
    if reading.kind is not Kind.MARKET:
        return not_applicable(NO_MARKET)
    limits = rules.anomaly
    earlier = tuple(
        point for point in snapshot.history.get(key_of(reading.raw), ()) if point.observed_ns < reading.observed_ns
    )
    found = [*_oddities(reading, limits), *_outlier(reading, earlier, limits)]
    points = round(fsum(points for _, points in found), 4)
    names = [name for name, _ in found]
    said = {"points": points, "points_refused": limits.points_refused, "samples": float(len(earlier))}
    if points >= limits.points_refused:
        return rejected(1 - points, f"Odd about the price: {', '.join(sorted(names))}", names, numbers=said)
    if names:
        return passed(1 - points, f"A little odd about the price: {', '.join(sorted(names))}", names, numbers=said)
    return passed(1.0, "Nothing is odd about the price", numbers=said)


def _oddities(reading: Reading, limits: Anomaly) -> Iterator[tuple[str, float]]:
    raw, market = reading.raw, reading.raw.market
    price, change = field_of(raw, "probability"), field_of(market, "one_day_change")
    bid, ask = field_of(market, "best_bid"), field_of(market, "best_ask")
    last, volume = field_of(market, "last_trade_price"), field_of(market, "volume_usd")
    if price is not None and not limits.extreme_low <= price <= limits.extreme_high:
        yield "extreme price", limits.extreme_points
    if change is not None and abs(change) > limits.jump:
        yield "jump within a day", limits.jump_points
    elif change is not None and abs(change) > limits.move:
        yield "move within a day", limits.move_points
    if market.HasField("traders") and market.traders < limits.traders_few and (volume or 0) > limits.traders_volume_usd:
        yield "few traders", limits.traders_points
    if bid is not None and ask is not None:
        if last is not None and round(abs(last - (bid + ask) / 2), PRICE_DIGITS) > limits.last_off_mid:
            yield "last trade off the middle", limits.last_points
        if bid > ask:
            yield "crossed book", limits.crossed_points
    if market.outcome_prices and round(abs(fsum(market.outcome_prices) - 1), PRICE_DIGITS) > limits.sum_off_one:
        yield "prices that do not add up to one", limits.sum_points


def _outlier(reading: Reading, earlier: Series, limits: Anomaly) -> Iterator[tuple[str, float]]:
    if len(earlier) < limits.z_samples_min or not reading.raw.HasField("probability"):
        return
    score = z_score(reading.raw.probability, [point.probability for point in earlier])
    if score is not None and abs(score) >= limits.z_score:
        yield "far from its history", limits.z_points


def z_score(value: float, samples: list[float]) -> float | None:
    """
    Return how many standard deviations (of the samples as a whole) a value lies from their mean; nothing where all
    samples are equal.
    """
    mean = fsum(samples) / len(samples)
    deviation = sqrt(fsum((sample - mean) ** 2 for sample in samples) / len(samples))
    return round((value - mean) / deviation, PRICE_DIGITS) if deviation > 1e-9 else None

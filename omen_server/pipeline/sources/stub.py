"""
A source that needs no network: the same invented events every time, for demonstrations and tests.

The answer may say how many, and which: `{"count": 12, "seed": 3}`. Nothing is random; nothing is true.
"""

from datetime import datetime
from functools import partial

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import MarketFigures, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import ITEMS_MAX, Node, read_json, whole
from omen_server.pipeline.sources.source import Parsed

NAME = "stub"
LICENCE = "invented by OMEN"
COUNT = 10
TITLES = (
    "Red Sea transit disruption: will carriers avoid the strait this month?",
    "Suez canal delay probability: will the queue of ships exceed fifty?",
    "Panama Canal draft restrictions: will they be tightened this quarter?",
    "Strait of Hormuz tanker seizure: will a vessel be detained this month?",
    "Port of Singapore congestion: will container waiting times double?",
    "Malacca Strait piracy: will attacks on ships rise this quarter?",
    "Bab el-Mandeb missile attacks: will shipping be hit this week?",
    "Dockworkers strike: will container ports in Rotterdam close?",
)


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Make the events that the answer asks for; an empty one asks for ten.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE, signal_pb2.PROVENANCE_STUB)
    asked = read_json(NAME, body or b"{}")
    with whole(NAME):
        count, seed = asked["count"].maybe_count(), asked["seed"].maybe_count() or 0
    numbers = range(COUNT if count is None else count)
    harvest.gather(
        [Node(seed + number, f"event[{number}]") for number in numbers[: ITEMS_MAX + 1]], partial(invented, harvest)
    )
    return harvest.parsed()


def invented(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return the event of one number: a market whose figures all come from it.
    """
    number: int = node.value
    yes = round(0.10 + number * 37 % 80 / 100, 2)
    event = harvest.event(
        f"stub-{number:06d}",
        f"{TITLES[number % len(TITLES)]} (no. {number})",
        harvest.fetched_at,
        description="An invented market about shipping, sanctions, strikes and supply, made by OMEN's stub source.",
        attributes=[("number", number)],
    )
    event.probability = yes
    event.market.CopyFrom(
        MarketFigures(
            liquidity_usd=10_000.0 + number % 100 * 1_000,
            volume_usd=50_000.0 + number % 100 * 5_000,
            best_bid=round(yes - 0.01, 2),
            best_ask=round(yes + 0.01, 2),
            spread=0.02,
            last_trade_price=yes,
            outcomes=["Yes", "No"],
            outcome_prices=[yes, round(1 - yes, 2)],
            active=True,
            closed=False,
            archived=False,
            accepting_orders=True,
        )
    )
    return event

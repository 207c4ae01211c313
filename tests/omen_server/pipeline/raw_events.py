"""
One good raw event of each kind, to be bent in the tests, and what the rules say of it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import Location, MarketFigures, RawSignalEvent, RuleVerdict
from omen_server.pipeline.reading import read
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot
from omen_server.pipeline.validator import FUNCTIONS

NOW = datetime(2026, 1, 28, 10, 0, tzinfo=UTC)
RULES = Ruleset()
NOTHING_KNOWN = Snapshot(NOW)

PASSED = signal_pb2.RULE_STATUS_PASSED
REJECTED = signal_pb2.RULE_STATUS_REJECTED
NOT_APPLICABLE = signal_pb2.RULE_STATUS_NOT_APPLICABLE
ERROR = signal_pb2.RULE_STATUS_ERROR
SKIPPED = signal_pb2.RULE_STATUS_SKIPPED

FIGURES: dict[str, Any] = {
    "liquidity_usd": 400_500.67,
    "volume_usd": 2_000_000.0,
    "best_bid": 0.71,
    "best_ask": 0.73,
    "last_trade_price": 0.72,
    "one_day_change": 0.04,
    "outcomes": ["Yes", "No"],
    "outcome_prices": [0.72, 0.28],
    "active": True,
    "closed": False,
    "archived": False,
    "accepting_orders": True,
    "end_at": datetime(2026, 6, 30, tzinfo=UTC),
}


def market(
    title: str = "Red Sea transit disruption", figures: dict[str, Any] | None = None, **fields: Any
) -> RawSignalEvent:
    """
    Return an event of a market; a figure given as None is not said.
    """
    merged = {key: value for key, value in {**FIGURES, **(figures or {})}.items() if value is not None}
    fields.setdefault("probability", 0.72)
    return event("polymarket", title, market=MarketFigures(**merged), **fields)


def event(
    source: str, title: str, *, age_s: float = 0.0, attributes: dict[str, Any] | None = None, **fields: Any
) -> RawSignalEvent:
    """
    Return an event that was observed so long ago.
    """
    fields.setdefault("source_event_id", "evt-001")
    fields.setdefault("url", f"https://{source}.example/evt-001")
    fields.setdefault("licence", "made for tests")
    fields.setdefault("provenance", signal_pb2.PROVENANCE_DEMO)
    fields.setdefault("observed_at", NOW - timedelta(seconds=age_s))
    raw = RawSignalEvent(source=source, title=title, **fields)
    if attributes:
        raw.attributes.update(attributes)
    return raw


def alert(title: str = "Hurricane Warning for the Port of Houston", **attributes: Any) -> RawSignalEvent:
    """
    Return a weather alert that holds for two more hours.
    """
    said = {
        "event": "Hurricane Warning",
        "certainty": "Likely",
        "severity": "Extreme",
        "expires": "2026-01-28T12:00:00Z",
    }
    return event("nws", title, attributes={**said, **attributes}, location=Location(name="Harris County", country="US"))


def quake(**attributes: Any) -> RawSignalEvent:
    """
    Return an earthquake near Suez.
    """
    said = {"magnitude": 6.4, "alert": "orange", "kind": "earthquake", **attributes}
    said = {key: value for key, value in said.items() if value is not None}
    return event("usgs", "M 6.4 - 20 km W of Suez", attributes=said, location=Location(latitude=30.0, longitude=32.3))


def article(
    title: str = "Houthi missile attacks close the Red Sea to container ships",
    name: str = "article-1",
    *,
    age_s: float = 0.0,
    **attributes: Any,
) -> RawSignalEvent:
    """
    Return a news article of Reuters.
    """
    said = {"domain": "reuters.com", "language": "English", **attributes}
    return event("gdelt", title, source_event_id=name, age_s=age_s, attributes=said)


def price(**attributes: Any) -> RawSignalEvent:
    """
    Return a price of crude oil.
    """
    said = {"series": "DCOILBRENTEU", "value": 83.1, "change_pct": 12.0, "z_score": 2.1, **attributes}
    return event("fred", "Brent crude oil price: 83.1 USD/barrel", attributes=said)


def transits(**attributes: Any) -> RawSignalEvent:
    """
    Return a week of the Suez Canal.
    """
    said = {
        "port_id": "chokepoint1",
        "mean_7d": 41.0,
        "change_year_pct": -45.0,
        "change_median_pct": -5.0,
        **attributes,
    }
    said = {key: value for key, value in said.items() if value is not None}
    return event("portwatch", "Suez Canal ship transits: 40 on 2026-01-27", attributes=said)


def vessels(**attributes: Any) -> RawSignalEvent:
    """
    Return the waiting ships of Singapore.
    """
    said = {"mmsi": "563012345", "congestion_ratio": 2.0, **attributes}
    said = {key: value for key, value in said.items() if value is not None}
    place = Location(latitude=1.2, longitude=103.8)
    return event("ais", "Port of Singapore congestion: ships at anchor", attributes=said, location=place)


def report(title: str = "Port closure at the Suez Canal", **fields: Any) -> RawSignalEvent:
    """
    Return what somebody nobody knows reports.
    """
    return event("unknown", title, **fields)


def verdict(rule: str, raw: RawSignalEvent, snapshot: Snapshot = NOTHING_KNOWN, rules: Ruleset = RULES) -> RuleVerdict:
    """
    Return what one rule says.
    """
    return FUNCTIONS[rule](read(raw, rules), rules, snapshot)

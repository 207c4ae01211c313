"""
What is thought of each source: what it tells of, how far to trust it, and how old its word may be.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S


class Kind(StrEnum):
    """
    What a source tells of. Which rules apply, and how a probability is found, depends on it.
    """

    MARKET = "market"
    ALERT = "alert"
    QUAKE = "quake"
    DISASTER = "disaster"
    NEWS = "article"
    PRICE = "price"
    FREIGHT = "freight"
    VESSELS = "vessels"
    TRANSITS = "transits"
    OTHER = "report"


HAZARDS: Final = frozenset({Kind.ALERT, Kind.QUAKE, Kind.DISASTER})


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """
    What is thought of one source. Sources of one voice never corroborate each other.
    """

    kind: Kind
    trust: float
    age_s_max: int
    voice: str = ""


# An alert holds until it expires, so its age is not what counts.
UNLIMITED_S: Final = 0

SOURCES: Final = {
    "polymarket": SourceProfile(Kind.MARKET, 0.75, 5 * MINUTE_S),
    "clob": SourceProfile(Kind.MARKET, 0.75, 5 * MINUTE_S, "polymarket"),
    "stub": SourceProfile(Kind.MARKET, 0.40, 5 * MINUTE_S),
    "weather": SourceProfile(Kind.ALERT, 0.85, UNLIMITED_S),
    "nws": SourceProfile(Kind.ALERT, 0.85, UNLIMITED_S),
    "usgs": SourceProfile(Kind.QUAKE, 0.85, 24 * HOUR_S),
    "gdacs": SourceProfile(Kind.DISASTER, 0.85, 24 * HOUR_S),
    "news": SourceProfile(Kind.NEWS, 0.60, 72 * HOUR_S),
    "gdelt": SourceProfile(Kind.NEWS, 0.60, 72 * HOUR_S),
    "commodity": SourceProfile(Kind.PRICE, 0.80, 4 * DAY_S),
    "stock": SourceProfile(Kind.PRICE, 0.85, 4 * DAY_S),
    "fred": SourceProfile(Kind.PRICE, 0.80, 4 * DAY_S),
    "prices": SourceProfile(Kind.PRICE, 0.80, 4 * DAY_S),
    "freight": SourceProfile(Kind.FREIGHT, 0.75, 8 * DAY_S),
    "ais": SourceProfile(Kind.VESSELS, 0.70, 1 * HOUR_S),
    "portwatch": SourceProfile(Kind.TRANSITS, 0.70, 10 * DAY_S),
    "unknown": SourceProfile(Kind.OTHER, 0.40, 24 * HOUR_S),
}

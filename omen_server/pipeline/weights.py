"""
The numbers behind a probability that no market says, behind confidence, and behind the category.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from omen_server.pipeline import vocabulary
from omen_server.pipeline.profiles import Kind


@dataclass(frozen=True, slots=True)
class Estimates:
    """
    Probabilities where no market says one. Placeholders, until enough events have been resolved to fit them.
    """

    certainty: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {"observed": 0.95, "likely": 0.70, "possible": 0.35, "unlikely": 0.05, "unknown": 0.50}
        )
    )
    disaster_level: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"green": 0.20, "orange": 0.60, "red": 0.90})
    )
    quake_alert: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"green": 0.10, "yellow": 0.40, "orange": 0.70, "red": 0.90})
    )
    quake_magnitude_min: float = 6.0
    quake_unrated: float = 0.20
    news_base: float = 0.20
    news_per_domain: float = 0.10
    news_max: float = 0.60
    drop_middle: float = 0.25
    drop_steepness: float = 10.0
    drop_low: float = 0.05
    drop_high: float = 0.95


@dataclass(frozen=True, slots=True)
class Confidence:
    """
    How sure a signal is: weights, the interval's half-width, and the least that is emitted.
    """

    factors: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {"anomaly": 0.20, "geographic": 0.20, "liquidity": 0.25, "semantic": 0.20, "source": 0.15}
        )
    )
    base: float = 0.40
    completeness: float = 0.30
    trust: float = 0.30
    score_min: float = 0.30
    sigmas: float = 1.96
    width_base: float = 0.05
    width_incomplete: float = 0.10
    width_distrust: float = 0.10
    trust_full: float = 0.9
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EXPECTED)


_ANY: Final = ("title", "description", "observed_at", "url")
EXPECTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        Kind.MARKET: (
            "title", "observed_at", "probability", "market.liquidity_usd", "market.volume_usd", "market.best_bid",
            "market.best_ask", "market.last_trade_price", "market.outcomes", "market.end_at",
        ),
        Kind.ALERT: (*_ANY, "location.name", "attributes.certainty", "attributes.severity", "attributes.expires"),
        Kind.QUAKE: ("title", "observed_at", "url", "location.latitude", "attributes.magnitude", "attributes.alert"),
        Kind.DISASTER: (*_ANY, "location.latitude", "attributes.alert_level", "attributes.severity"),
        Kind.NEWS: ("title", "observed_at", "url", "attributes.domain", "attributes.language"),
        Kind.PRICE: ("title", "observed_at", "url", "attributes.value", "attributes.change_pct", "attributes.z_score"),
        Kind.FREIGHT: ("title", "observed_at", "url", "attributes.value", "attributes.change_pct"),
        Kind.VESSELS: ("title", "observed_at", "location.latitude", "attributes.congestion_ratio"),
        Kind.TRANSITS: ("title", "observed_at", "url", "attributes.mean_7d", "attributes.change_year_pct"),
        Kind.OTHER: (*_ANY, "probability", "location.name"),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Classes:
    """
    How the category is found. The order of precedence decides between equals.
    """

    title_factor: int = 2
    description_factor: int = 1
    precedence: tuple[str, ...] = (
        "GEOPOLITICAL",
        "SECURITY",
        "INFRASTRUCTURE",
        "WEATHER",
        "LABOR",
        "REGULATORY",
        "ECONOMIC",
        "OTHER",
    )
    terms: tuple[tuple[str, int, tuple[str, ...]], ...] = vocabulary.CATEGORY_TERMS
    # What nature does is weather or what it does to infrastructure, whatever else the text names.
    hazards: tuple[str, ...] = ("WEATHER", "INFRASTRUCTURE")
    defaults: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {
                Kind.ALERT: "WEATHER",
                Kind.QUAKE: "WEATHER",
                Kind.DISASTER: "WEATHER",
                Kind.PRICE: "ECONOMIC",
                Kind.FREIGHT: "ECONOMIC",
                Kind.VESSELS: "INFRASTRUCTURE",
                Kind.TRANSITS: "INFRASTRUCTURE",
            }
        )
    )
    flat_change: float = 0.01

"""
The numbers of the rules V0 to V10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from omen_server.pipeline.profiles import HAZARDS, HOUR_S, Kind


@dataclass(frozen=True, slots=True)
class Sanity:
    """
    V0: what an event must be to be judged at all.
    """

    title_chars_min: int = 1
    title_chars_max: int = 500
    name_chars_max: int = 200
    url_chars_max: int = 2_000
    ahead_s_max: int = HOUR_S


@dataclass(frozen=True, slots=True)
class Market:
    """
    V1: the only outcomes a market may have.
    """

    outcomes: tuple[str, ...] = ("No", "Yes")


@dataclass(frozen=True, slots=True)
class Liquidity:
    """
    V2: how much money must stand behind a price.
    """

    usd_min: float = 1_000.0
    score_at_min: float = 0.25
    score_per_decade: float = 0.25
    volume_usd_low: float = 10_000.0
    volume_factor: float = 0.8
    spread_max: float = 0.10
    spread_wide: float = 0.05
    spread_factor: float = 0.8


@dataclass(frozen=True, slots=True)
class Anomaly:
    """
    V3: what makes a price suspicious, in points; enough of them refuse it.
    """

    extreme_low: float = 0.05
    extreme_high: float = 0.95
    extreme_points: float = 0.30
    jump: float = 0.50
    jump_points: float = 0.40
    move: float = 0.20
    move_points: float = 0.15
    traders_few: int = 10
    traders_volume_usd: float = 10_000.0
    traders_points: float = 0.30
    last_off_mid: float = 0.10
    last_points: float = 0.20
    sum_off_one: float = 0.03
    sum_points: float = 0.30
    crossed_points: float = 0.50
    z_score: float = 3.0
    z_samples_min: int = 10
    z_points: float = 0.20
    points_refused: float = 0.50


@dataclass(frozen=True, slots=True)
class Semantic:
    """
    V4: how much of what matters an event's words name.
    """

    per_group: float = 0.2
    per_match: float = 0.1
    score_min: float = 0.30


@dataclass(frozen=True, slots=True)
class Geographic:
    """
    V5: which place an event touches. Nature reaches a port from afar; what people do reaches it by its name.
    """

    near_km: float = 500.0
    base: float = 0.4
    per_place: float = 0.3
    generic_per_word: float = 0.1
    generic_score_max: float = 0.3
    generic_semantic_min: float = 0.5
    near_port_kinds: tuple[Kind, ...] = tuple(sorted(HAZARDS))


@dataclass(frozen=True, slots=True)
class Freshness:
    """
    V6: how old an event may be is said by its source's profile; here is how age tells on it.
    """

    news_half_life_s: int = 24 * HOUR_S
    current_share: float = 0.25
    recent_share: float = 0.75


@dataclass(frozen=True, slots=True)
class News:
    """
    V7: whom to believe, and what is the same article again.
    """

    credibility_min: float = 0.30
    recency_min: float = 0.10
    product_min: float = 0.20
    duplicate_likeness: float = 0.80
    duplicate_s_max: int = 72 * HOUR_S
    boost_max: float = 0.10
    credibility_default: float = 0.50
    credibility: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {
                "aljazeera.com": 0.80,
                "apnews.com": 0.95,
                "bbc.co.uk": 0.90,
                "bbc.com": 0.90,
                "bloomberg.com": 0.90,
                "cnbc.com": 0.80,
                "economist.com": 0.90,
                "ft.com": 0.90,
                "gcaptain.com": 0.80,
                "joc.com": 0.85,
                "lloydslist.com": 0.90,
                "maritime-executive.com": 0.80,
                "nytimes.com": 0.85,
                "reuters.com": 0.95,
                "seatrade-maritime.com": 0.80,
                "splash247.com": 0.75,
                "theguardian.com": 0.85,
                "tradewindsnews.com": 0.85,
                "wsj.com": 0.90,
                "zerohedge.com": 0.20,
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """
    V8: how large a move of a price is: by any of its steps, low, medium, high.
    """

    change_pct: tuple[float, ...] = (5.0, 10.0, 20.0)
    z_score: tuple[float, ...] = (2.0, 2.5, 3.0)
    z_max: float = 10.0
    boosts: tuple[float, ...] = (0.0, 0.02, 0.05, 0.08)


@dataclass(frozen=True, slots=True)
class Traffic:
    """
    V9: when ships wait longer or pass more rarely than they do.
    """

    congestion_ratio: float = 1.5
    congestion_span: float = 2.0
    delay_ratio: float = 1.5
    delay_span: float = 1.0
    change_pct: float = -25.0
    mmsi_digits: int = 9


@dataclass(frozen=True, slots=True)
class CrossSource:
    """
    V10: when two sources tell of one event, and what that is worth.
    """

    near_km: float = 200.0
    apart_s_max: int = 72 * HOUR_S
    likeness_min: float = 0.30
    boost_two: float = 0.15
    boost_three: float = 0.25
    likeness_high: float = 0.60
    boost_likeness: float = 0.05
    boost_max: float = 0.35

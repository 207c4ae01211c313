"""
What was seen of each source event before: a value, and functions from one value to the next. Nothing here keeps it.

A history is bounded three ways: by age, by points a series, by series.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.attribute import SECOND_NS, ns_of

AGE_S_MAX: Final = 168 * 3600
POINTS_MAX: Final = 1_000
SERIES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """
    One probability, and when it was observed.
    """

    observed_ns: int
    probability: float


# A series' points, oldest first, each once.
Series: TypeAlias = tuple[Point, ...]
History: TypeAlias = Mapping[str, Series]

EMPTY: Final[History] = MappingProxyType({})


def key_of(raw: RawSignalEvent) -> str:
    """
    Return the name of the series an event belongs to. No source's name holds a slash, so none passes for another.
    """
    return f"{raw.source}/{raw.source_event_id}"


def point_of(raw: RawSignalEvent) -> Point | None:
    """
    Return what a history keeps of an event; nothing, where it says no price.
    """
    return Point(ns_of(raw.observed_at), raw.probability) if raw.HasField("probability") else None


def extended(series: Series, point: Point, now_ns: int) -> Series:
    """
    Return the series with one more point, within its bounds. The order in which points come makes no difference.
    """
    at = bisect_left(series, point)
    known = at < len(series) and series[at] == point
    return bounded(series if known else (*series[:at], point, *series[at:]), now_ns)


def bounded(series: Series, now_ns: int) -> Series:
    """
    Return the newest points, at most 1,000 and none older than 168 hours.
    """
    oldest = bisect_left(series, now_ns - AGE_S_MAX * SECOND_NS, key=lambda point: point.observed_ns)
    first = max(oldest, len(series) - POINTS_MAX)
    return series[first:] if first else series


def swept(history: History, now_ns: int, series_max: int = SERIES_MAX) -> History:
    """
    Return the history without what is too old; of too many series those that were seen last stay.
    """
    kept = {key: points for key, series in history.items() if (points := bounded(series, now_ns))}
    newest = sorted(kept, key=lambda key: (-kept[key][-1].observed_ns, key))[:series_max]
    return MappingProxyType({key: kept[key] for key in sorted(newest)})

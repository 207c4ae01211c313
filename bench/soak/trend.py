"""
Whether what a process holds grows for ever. Pure: figures in, sentences out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MIB = 1 << 20
HOUR_S = 3600.0
WARM_UP = 1 / 3  # Rings fill, pools open, pages of the interpreter are touched.


MEASURABLE_S = 180.0  # In less than that a slope is the noise of one storm.


@dataclass(frozen=True, slots=True)
class Bound:
    """
    How far a figure may rise by its slope over what was measured: its noise, and so much for an hour; and its top.
    """

    noise: float
    per_hour: float
    top: float

    def allows(self, trend: "Trend") -> bool:
        """
        Whether *trend* is within it. What is too short to be measured is held to the top alone.
        """
        if trend.top > self.top:
            return False
        hours = trend.seconds / HOUR_S
        return trend.seconds < MEASURABLE_S or trend.slope_per_hour * hours <= self.noise + self.per_hour * hours


BOUNDS: Mapping[str, Bound] = {
    "resident_bytes": Bound(noise=16 * MIB, per_hour=16 * MIB, top=512 * MIB),
    # Closed channels of a client linger for half a minute, so subscribers that come and go hold several each.
    "descriptors": Bound(noise=60, per_hour=10, top=600),
    "threads": Bound(noise=8, per_hour=4, top=100),
    "tasks": Bound(noise=40, per_hour=20, top=1000),
    "wal_bytes": Bound(noise=8 * MIB, per_hour=4 * MIB, top=64 * MIB),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """
    How one figure of one process moved.
    """

    first: float
    last: float
    top: float
    slope_per_hour: float
    seconds: float


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """
    Return how a figure moved, by the line that fits its points best.
    """
    at, values = [point[0] for point in points], [point[1] for point in points]
    middle, mean = sum(at) / len(at), sum(values) / len(values)
    spread = sum((each - middle) ** 2 for each in at)
    rise = sum((each - middle) * (value - mean) for each, value in points)
    slope_per_hour = rise / spread * HOUR_S if spread else 0.0
    return Trend(values[0], values[-1], max(values), slope_per_hour, at[-1] - at[0])


def measured(samples: Iterable[tuple[float, int, Mapping[str, float]]], total_s: float) -> dict[str, Trend]:
    """
    Return the trends of one server behind the warm-up: those of the process that was looked at most often.
    """
    by_pid: dict[int, list[tuple[float, Mapping[str, float]]]] = {}
    for at_s, pid, figures in samples:
        if at_s >= total_s * WARM_UP:
            by_pid.setdefault(pid, []).append((at_s, figures))
    longest = max(by_pid.values(), key=len, default=[])
    if not longest:
        return {}
    return {name: trend_of([(at_s, figures[name]) for at_s, figures in longest]) for name in BOUNDS}


def grown(server: str, trends: Mapping[str, Trend]) -> list[str]:
    """
    Return what is wrong with a server's trends.
    """
    if not trends:
        return [f"{server}: nothing was measured"]
    return [
        f"{server}: {name} rose by {trend.slope_per_hour:.0f} an hour over {trend.seconds:.0f} s "
        f"({trend.first:.0f} → {trend.last:.0f}, at most {trend.top:.0f})"
        for name, trend in trends.items()
        if not BOUNDS[name].allows(trend)
    ]

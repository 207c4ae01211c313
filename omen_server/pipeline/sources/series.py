"""
A series of figures, one a day: its newest value becomes one event, the others are what that is compared with.

Attributes: series, series_title, kind, unit, date, value, previous_date, previous_value, change, change_pct, z_score
(of the value, against the 90 before it, given 10), samples, missing_count, history (the last 100 as [date, value]).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite, sqrt
from statistics import fmean

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import Node, Unfit, line

VALUE_MAX = 1e15
SAMPLES_MIN = 10
SAMPLES_MAX = 90
HISTORY_MAX = 100
SERIES_MAX = 1_000


@dataclass(slots=True)
class Series:
    """
    What one answer says of one series. A value that is missing is counted and never filled in.
    """

    name: str
    title: str
    kind: str = ""
    unit: str = ""
    values: dict[datetime, float] = field(default_factory=dict)
    missing_count: int = 0

    def add(self, harvest: Harvest, date: Node, value: Node, missing: str = "") -> None:
        """
        Add the value of a day. Of two for the same day the later line counts.
        """
        try:
            day = date.moment()
            if value.maybe_text() in {"", missing}:
                self.missing_count += 1
                return
            number = amount(value)
            if day in self.values:
                harvest.skip(date.place, f"is the second value for {day:%Y-%m-%d}; it counts")
            self.values[day] = number
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)


def amount(node: Node) -> float:
    """
    Return a figure of a size that can be reckoned with.
    """
    number = node.number()
    if abs(number) > VALUE_MAX:
        raise Unfit(node.place, f"is beyond {VALUE_MAX:g}")
    return number


def gather(harvest: Harvest, every: Iterable[Series]) -> None:
    """
    Make the event of each series; one without a single value makes none.
    """
    for series in every:
        if series.values:
            harvest.events.append(latest(harvest, series))
        else:
            harvest.skip(series.name, f"has no value, and {series.missing_count} missing")


def latest(harvest: Harvest, series: Series) -> RawSignalEvent:
    """
    Return the newest value as an event, observed on its own day however late it was fetched.
    """
    days = sorted(series.values)
    values = [series.values[day] for day in days]
    day, value = days[-1], values[-1]
    previous = values[-2] if len(values) > 1 else None
    change_pct = percent(value, previous)
    moved = "" if change_pct is None else f" ({change_pct:+.2f} %)"
    return harvest.event(
        f"{series.name}:{day:%Y-%m-%d}",
        line(f"{series.title}: {value:g} {series.unit}".rstrip() + f" on {day:%Y-%m-%d}{moved}"),
        day,
        attributes=[
            ("series", series.name),
            ("series_title", series.title),
            ("kind", series.kind),
            ("unit", series.unit),
            ("date", f"{day:%Y-%m-%d}"),
            ("value", value),
            ("previous_date", f"{days[-2]:%Y-%m-%d}" if previous is not None else None),
            ("previous_value", previous),
            ("change", None if previous is None else round(value - previous, 6)),
            ("change_pct", change_pct),
            ("z_score", z_score(value, values[-1 - SAMPLES_MAX : -1])),
            ("samples", len(values)),
            ("missing_count", series.missing_count or None),
            ("history", [[f"{day:%Y-%m-%d}", series.values[day]] for day in days[-HISTORY_MAX:]]),
        ],
    )


def percent(value: float, base: float | None) -> float | None:
    """
    Return by how much *value* differs from *base*, in percent of it; None where that says nothing.
    """
    if not base:
        return None
    change = (value - base) / abs(base) * 100
    return round(change, 4) + 0.0 if isfinite(change) else None


def z_score(value: float, samples: Sequence[float]) -> float | None:
    """
    Return how many standard deviations *value* lies from the mean of *samples*; None where they are few, or all equal.
    """
    if len(samples) < SAMPLES_MIN:
        return None
    mean = fmean(samples)
    deviation = sqrt(fmean((sample - mean) ** 2 for sample in samples))
    score = (value - mean) / deviation if deviation > 1e-9 * max(1.0, abs(mean)) else None
    return None if score is None else round(score, 4) + 0.0

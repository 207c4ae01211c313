"""
What a source is: a pure parser of what it answers, and the terms under which it may be asked.

A parser reads nothing but its arguments. It gives the same events for the same body, whenever that was fetched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from omen.v1.signal_pb2 import RawSignalEvent


class SourceError(Exception):
    """
    A source of raw events that gave none: which one, where in its answer, and what was wrong.
    """

    def __init__(self, source: str, place: str, problem: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{source}: {place}: {problem}" if place else f"{source}: {problem}")
        self.source = source
        self.place = place
        self.problem = problem
        self.retry_after_s = retry_after_s


class SourceMalformed(SourceError):
    """
    The answer is not of the shape this source has; asking again gives the same.
    """


class SourceRefused(SourceError):
    """
    The source answers with an error of its own in place of data.
    """


class SourceUnavailable(SourceError):
    """
    The source does not answer now; it may later.
    """


@dataclass(frozen=True, slots=True)
class Skipped:
    """
    One item of an answer that became no event, by its place, and why.
    """

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """
    What one answer holds: events ordered by id, and every item that became none.
    """

    events: tuple[RawSignalEvent, ...]
    skipped: tuple[Skipped, ...] = ()
    next_page: str = ""


# Takes the body, when it was fetched (aware), and from where. Raises SourceMalformed, SourceRefused or
# SourceUnavailable, and nothing else.
Parse: TypeAlias = Callable[[bytes, datetime, str], Parsed]


@dataclass(frozen=True, slots=True)
class Source:
    """
    One source: how its answers are read, and where and how often it may be asked.
    """

    name: str
    parse: Parse
    licence: str
    urls: tuple[str, ...] = ()
    interval_s_min: float = 60.0
    requests_per_minute_max: int = 60
    requests_burst_max: int = 10
    page_parameter: str = ""
    pages_max: int = 1
    offline: bool = False

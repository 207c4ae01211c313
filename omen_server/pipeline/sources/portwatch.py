"""
Daily transits of chokepoints and calls at ports, from IMF PortWatch.

Published weekly and days late, so that an event is observed on the last day it tells of. The newest day of each port
becomes one event; the others are what it is compared with: the mean of the last 7 days with that of the same days a
year before and with the median of the 90 days before them. A day that is not there is not a day without ships.

Attributes: port_id, port_name, kind (chokepoint or port), date, calls, n_…, capacity…, portcalls…, import…, export… as
they are, mean_7d, days_7d, mean_7d_year_before, change_year_pct, median_90d, change_median_pct.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from statistics import fmean, median
from typing import Any
from urllib.parse import parse_qs, urlsplit

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import EPOCH
from omen_server.pipeline.sources.node import (
    ITEMS_MAX,
    LIST_ITEMS_MAX,
    NAME_CHARS_MAX,
    Node,
    Unfit,
    line,
    read_json,
    whole,
)
from omen_server.pipeline.sources.series import VALUE_MAX, percent
from omen_server.pipeline.sources.source import Parsed, SourceRefused, SourceUnavailable

NAME = "portwatch"
LICENCE = "IMF PortWatch terms (non-commercial and research use)"
WEEK_DAYS_MIN = 5
QUARTER_DAYS_MIN = 30
FIGURES = ("n_", "capacity", "portcalls", "import", "export")


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a page of rows. An error comes with status 200 here.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    root = read_json(NAME, body)
    with whole(NAME):
        check_error(root)
        nodes = root["features"].said_nodes()
        more = root["exceededTransferLimit"].maybe_flag()
    ports: dict[str, dict[date, Node]] = {}
    for node in nodes[:ITEMS_MAX]:
        try:
            attributes = node["attributes"]
            port, day = attributes["portid"].name(), day_of(attributes)
            ports.setdefault(port, {})[day] = attributes
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
    if len(nodes) > ITEMS_MAX:
        harvest.skip(nodes[ITEMS_MAX].place, f"{len(nodes) - ITEMS_MAX} rows after the first {ITEMS_MAX} are not read")
    for days in ports.values():
        try:
            harvest.events.append(newest(harvest, days))
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
    return harvest.parsed(str(offset(url) + len(nodes)) if more and nodes else "")


def check_error(root: Node) -> None:
    """
    Raise what the answer says in place of rows.
    """
    error = root["error"]
    if error.value is None:
        return
    code, said = error["code"].maybe_number() or 0, error["message"].maybe_text(200)
    kind = SourceUnavailable if code == 429 or code >= 500 else SourceRefused
    raise kind(NAME, "error", f"{code:g} {said}")


def offset(url: str) -> int:
    """
    Return how many rows were before this page.
    """
    try:
        asked = parse_qs(urlsplit(url).query).get("resultOffset", ["0"])[0]
    except ValueError:
        return 0
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0


def day_of(attributes: Node) -> date:
    """
    Return a row's day: milliseconds since 1970, or text.
    """
    node = attributes["date"]
    moment = node.maybe_moment() if isinstance(node.value, str) else node.maybe_moment_ms()
    if moment is None:
        raise Unfit(node.place, "is missing")
    return moment.date()


def calls_of(attributes: Node) -> float | None:
    """
    Return how many ships passed a chokepoint, or called at a port.
    """
    for key in ("n_total", "portcalls"):
        calls = attributes[key].maybe_number()
        if calls is not None:
            if not 0 <= calls <= VALUE_MAX:
                raise Unfit(attributes[key].place, "is no number of ships")
            return calls
    return None


def newest(harvest: Harvest, days: dict[date, Node]) -> RawSignalEvent:
    """
    Return a port's newest day that has a count as an event, together with what the other days say of it.
    """
    counted = {}
    for day, row in days.items():
        try:
            calls = calls_of(row)
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
            continue
        if calls is not None:
            counted[day] = calls
    if not counted:
        raise Unfit(next(iter(days.values())).place, "is of a port without a count on any day")
    last = max(counted)
    row = days[last]
    name = row["portname"].maybe_text(NAME_CHARS_MAX) or row["portid"].name()
    kind = "chokepoint" if row["portid"].name().startswith("chokepoint") else "port"
    compared = dict(comparison(counted, last))
    event = harvest.event(
        f"{row['portid'].name()}:{last}",
        title(f"{name} {'ship transits' if kind == 'chokepoint' else 'port calls'}", last, counted[last], compared),
        EPOCH + (last - EPOCH.date()),
        attributes=[
            ("port_id", row["portid"].name()),
            ("port_name", name),
            ("kind", kind),
            ("date", str(last)),
            ("calls", counted[last]),
            *figures(row),
            *compared.items(),
        ],
    )
    event.location.CopyFrom(Location(name=name))
    return event


def title(name: str, day: date, calls: float, compared: dict[str, Any]) -> str:
    """
    Return the event in a line.
    """
    text = f"{name}: {calls:g} on {day}"
    if compared.get("mean_7d") is not None:
        text += f", 7-day mean {compared['mean_7d']:g}"
    if compared.get("change_year_pct") is not None:
        text += f" ({compared['change_year_pct']:+.1f} % on the year before)"
    return line(text)


def figures(row: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield the counts and tonnages of a day, under the source's own names.
    """
    for key in sorted(row.value)[:LIST_ITEMS_MAX]:
        if key.startswith(FIGURES):
            yield key[:NAME_CHARS_MAX], row[key].maybe_number()


def comparison(counted: dict[date, float], last: date) -> Iterator[tuple[str, Any]]:
    """
    Yield the week up to *last*, and what it is compared with.
    """
    week = span(counted, last, 0, 7)
    yield "days_7d", len(week)
    if len(week) < WEEK_DAYS_MIN:
        return
    mean = fmean(week)
    yield "mean_7d", round(mean, 4)
    before = span(counted, last, 365, 7)
    if len(before) >= WEEK_DAYS_MIN:
        yield "mean_7d_year_before", round(fmean(before), 4)
        yield "change_year_pct", percent(mean, fmean(before))
    quarter = span(counted, last, 7, 90)
    if len(quarter) >= QUARTER_DAYS_MIN:
        yield "median_90d", round(median(quarter), 4)
        yield "change_median_pct", percent(mean, median(quarter))


def span(counted: dict[date, float], last: date, back: int, days: int) -> list[float]:
    """
    Return the counts of so many days, the last of them *back* days before *last*. Days that are not there are left out.
    """
    try:
        wanted = [last - timedelta(days=back + day) for day in range(days)]
    except OverflowError:  # Before the year 1 there are no ships either.
        return []
    return [counted[day] for day in wanted if day in counted]

"""
Freight indices from a CSV file that somebody exported under a licence of their own: a date, a lane, a value.

Columns, in any order and any case: `date`, `lane`, `value`, and if need be `index`, `route`, `unit`. The licence rarely
allows passing the figures on, so that every event says MANUAL.
"""

from datetime import datetime

from omen.v1 import signal_pb2
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import NAME_CHARS_MAX, Node, Unfit
from omen_server.pipeline.sources.series import SERIES_MAX, Series, gather
from omen_server.pipeline.sources.source import Parsed
from omen_server.pipeline.sources.table import read_table

NAME = "freight"
LICENCE = "licensed index, for information; no right to redistribute"


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a file of freight indices, one series a lane.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE, signal_pb2.PROVENANCE_MANUAL)
    lanes: dict[str, Series] = {}
    _, rows = read_table(harvest, body, "date", "lane", "value")
    for row in rows:
        try:
            series = of_row(lanes, row)
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
            continue
        series.add(harvest, row["date"], row["value"])
    gather(harvest, lanes.values())
    return harvest.parsed()


def of_row(lanes: dict[str, Series], row: Node) -> Series:
    """
    Return the lane that a row belongs to.
    """
    name = row["lane"].name()
    if name not in lanes:
        if len(lanes) == SERIES_MAX:
            raise Unfit(row["lane"].place, f"is one of more than {SERIES_MAX} lanes")
        index = row["index"].maybe_text(NAME_CHARS_MAX) or "Freight index"
        route = row["route"].maybe_text(NAME_CHARS_MAX)
        title = f"{index} {name} {route}".rstrip()
        lanes[name] = Series(name, title, "freight", row["unit"].maybe_text(40) or "USD/FEU")
    return lanes[name]

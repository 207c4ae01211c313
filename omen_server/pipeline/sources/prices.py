"""
Daily prices from a CSV file: a date, a price, and where there are several of them, a symbol.

Columns, in any order and any case: `date`; `close`, or else `value` or `price`; and if need be `symbol` (else the
address names it), `title`, `kind` (stock or commodity), `unit`.
"""

from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from omen.v1 import signal_pb2
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import NAME_CHARS_MAX, Node, Unfit, line
from omen_server.pipeline.sources.series import SERIES_MAX, Series, gather
from omen_server.pipeline.sources.source import Parsed, SourceMalformed
from omen_server.pipeline.sources.table import read_table

NAME = "prices"
LICENCE = "as the owner of the file says"
PRICE_COLUMNS = ("close", "value", "price")
UNNAMED = "unnamed"


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a file of prices.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE, signal_pb2.PROVENANCE_MANUAL)
    columns, rows = read_table(harvest, body, "date")
    price = next((name for name in PRICE_COLUMNS if name in columns), "")
    if not price:
        raise SourceMalformed(NAME, "line 1", f"has none of the columns {', '.join(PRICE_COLUMNS)}")
    every: dict[str, Series] = {}
    default = symbol_of(url)
    for row in rows:
        try:
            series = of_row(every, row, default)
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
            continue
        series.add(harvest, row["date"], row[price])
    gather(harvest, every.values())
    return harvest.parsed()


def of_row(every: dict[str, Series], row: Node, default: str) -> Series:
    """
    Return the series that a row belongs to.
    """
    name = row["symbol"].name() if row["symbol"].maybe_text() else default
    if name not in every:
        if len(every) == SERIES_MAX:
            raise Unfit(row["symbol"].place, f"is one of more than {SERIES_MAX} symbols")
        kind = row["kind"].maybe_text(40).lower()
        if kind not in {"", "stock", "commodity"}:
            raise Unfit(row["kind"].place, "is neither stock nor commodity")
        title = row["title"].maybe_text(NAME_CHARS_MAX) or f"{name} price"
        every[name] = Series(name, title, kind, row["unit"].maybe_text(40))
    return every[name]


def symbol_of(url: str) -> str:
    """
    Return the symbol that an address names: its parameter `s`, else the file's own name.
    """
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query).get("s", [""])[0]
    except ValueError:
        return UNNAMED
    return line(asked or PurePosixPath(unquote(parts.path)).stem, NAME_CHARS_MAX) or UNNAMED

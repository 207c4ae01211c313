"""
Economic series of FRED: the API's JSON, and the CSV that needs no key.

A missing value is "." in the one and nothing in the other; it stays missing. The JSON does not name its series, so the
address must (`series_id=`). Whether a series may be passed on differs by series.
"""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import ITEMS_MAX, Unfit, read_json, whole
from omen_server.pipeline.sources.series import Series, gather
from omen_server.pipeline.sources.source import Parsed, SourceMalformed, SourceRefused
from omen_server.pipeline.sources.table import read_table

NAME = "fred"
LICENCE = "FRED terms of use; the licence of this series is not known"
PUBLIC_DOMAIN = "public domain (US EIA by way of FRED)"
PRE_APPROVAL = "FRED terms of use; the series' owner must approve any use"
MISSING = "."
# Title, kind, unit and licence of what is worth polling.
KNOWN = {
    "DCOILBRENTEU": ("Brent crude oil price", "commodity", "USD/barrel", PUBLIC_DOMAIN),
    "DCOILWTICO": ("WTI crude oil price", "commodity", "USD/barrel", PUBLIC_DOMAIN),
    "DHHNGSP": ("Henry Hub natural gas price", "commodity", "USD/MMBtu", PUBLIC_DOMAIN),
    "SP500": ("S&P 500 stock index", "stock", "", PRE_APPROVAL),
    "DJIA": ("Dow Jones industrial average stock index", "stock", "", PRE_APPROVAL),
    "NASDAQCOM": ("Nasdaq composite stock index", "stock", "", PRE_APPROVAL),
}
DATE_COLUMNS = ("observation_date", "date")


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read an answer of the API or of the chart's CSV.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    is_json = body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    gather(harvest, of_json(harvest, body, url) if is_json else of_csv(harvest, body))
    for event in harvest.events:
        event.licence = KNOWN.get(event.attributes["series"], ("", "", "", LICENCE))[3]  # type: ignore[arg-type]
    return harvest.parsed()


def of_json(harvest: Harvest, body: bytes, url: str) -> Iterator[Series]:
    """
    Yield the one series of the API's answer.
    """
    root = read_json(NAME, body)
    if root.value.get("error_message") is not None:
        raise SourceRefused(NAME, "error_message", str(root.value["error_message"])[:200])
    with whole(NAME):
        nodes = root["observations"].said_nodes()
    series = known(series_id(url))
    if len(nodes) > ITEMS_MAX * 10:
        raise SourceMalformed(NAME, "observations", f"has {len(nodes)} entries, {ITEMS_MAX * 10} at most")
    for node in nodes:
        try:
            series.add(harvest, node["date"], node["value"], MISSING)
        except Unfit as unfit:
            harvest.skip(unfit.place, unfit.problem)
    yield series


def of_csv(harvest: Harvest, body: bytes) -> Iterator[Series]:
    """
    Yield the series of a CSV: one a column after the date.
    """
    columns, rows = read_table(harvest, body)
    if not columns or columns[0] not in DATE_COLUMNS:
        raise SourceRefused(NAME, "line 1", f"has no {DATE_COLUMNS[0]}, but says {' '.join(columns)[:200]!r}")
    for column in columns[1:]:
        series = known(column.upper())
        for row in rows:
            series.add(harvest, row[columns[0]], row[column], MISSING)
        yield series


def known(name: str) -> Series:
    """
    Return an empty series under the name people know it by.
    """
    title, kind, unit, _ = KNOWN.get(name, (f"FRED series {name}", "", "", ""))
    return Series(name, title, kind, unit)


def series_id(url: str) -> str:
    """
    Return the series that an address asks for.
    """
    try:
        asked = parse_qs(urlsplit(url).query)
    except ValueError:
        asked = {}
    name = (asked.get("series_id") or asked.get("id") or [""])[0].upper()
    if not name.replace("_", "").isalnum() or len(name) > 100:
        raise SourceMalformed(NAME, "", "the answer does not name its series, and neither does the address")
    return name

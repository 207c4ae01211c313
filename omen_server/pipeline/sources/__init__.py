"""
The sources OMEN can read, by the name in `--poll` and `submit --source`. A source is a row here and its own module.
"""

from collections.abc import Mapping
from types import MappingProxyType

from omen_server.pipeline.sources import (
    ais,
    clob,
    fred,
    freight,
    gdacs,
    gdelt,
    nmea,
    nws,
    polymarket,
    portwatch,
    prices,
    stub,
    usgs,
)
from omen_server.pipeline.sources.source import Source

PORTWATCH_QUERY = (
    "https://services9.arcgis.com/weJ1QsnbMYJlCHdG/arcgis/rest/services/Daily_Chokepoints_Data/FeatureServer/0/query"
    "?where=portid%3D%27chokepoint{}%27&outFields=*&orderByFields=date%20DESC&resultRecordCount=500&f=json"
)
CHOKEPOINTS = (1, 4, 6, 7)  # Suez, Bab el-Mandeb, Hormuz, Cape of Good Hope.
FRED_QUERY = "https://fred.stlouisfed.org/graph/fredgraph.csv?id={}&cosd=2025-01-01"
GDELT_QUERY = (
    "https://api.gdeltproject.org/api/v2/doc/doc?query=(shipping%20OR%20%22supply%20chain%22%20OR%20%22red%20sea%22"
    "%20OR%20%22suez%20canal%22)&mode=artlist&format=json&maxrecords=250&timespan=1d&sort=datedesc"
)

ROWS = (
    Source(
        "polymarket",
        polymarket.parse,
        polymarket.LICENCE,
        ("https://gamma-api.polymarket.com/events/keyset?limit=100&closed=false",),
        interval_s_min=10,
        requests_per_minute_max=300,
        page_parameter="after_cursor",
        pages_max=20,
    ),
    Source("clob", clob.parse, polymarket.LICENCE, interval_s_min=10, requests_per_minute_max=300),
    Source(
        "nws",
        nws.parse,
        nws.LICENCE,
        ("https://api.weather.gov/alerts/active?status=actual",),
        interval_s_min=30,
        requests_per_minute_max=12,
        requests_burst_max=2,
    ),
    Source(
        "usgs",
        usgs.parse,
        usgs.LICENCE,
        ("https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/4.5_day.geojson",),
        requests_per_minute_max=6,
        requests_burst_max=2,
    ),
    Source(
        "gdacs",
        gdacs.parse,
        gdacs.LICENCE,
        ("https://www.gdacs.org/xml/rss.xml",),
        interval_s_min=300,
        requests_per_minute_max=2,
        requests_burst_max=2,
    ),
    Source(
        "gdelt",
        gdelt.parse,
        gdelt.LICENCE,
        (GDELT_QUERY,),
        requests_per_minute_max=12,
        requests_burst_max=1,
    ),
    Source("gdelt_events", gdelt.parse_events, gdelt.LICENCE),
    Source(
        "portwatch",
        portwatch.parse,
        portwatch.LICENCE,
        tuple(PORTWATCH_QUERY.format(number) for number in CHOKEPOINTS),
        interval_s_min=3600,
        requests_per_minute_max=30,
        page_parameter="resultOffset",
    ),
    Source(
        "fred",
        fred.parse,
        fred.LICENCE,
        tuple(FRED_QUERY.format(series) for series in ("DCOILBRENTEU", "DCOILWTICO", "DHHNGSP")),
        interval_s_min=900,
        requests_per_minute_max=12,
        requests_burst_max=3,
    ),
    Source("prices", prices.parse, prices.LICENCE),
    Source("csv", prices.parse, prices.LICENCE),  # What the command line calls prices.
    Source("freight", freight.parse, freight.LICENCE),
    Source("ais", ais.parse, ais.LICENCE),
    Source("nmea", nmea.parse, nmea.LICENCE),
    Source("stub", stub.parse, stub.LICENCE, interval_s_min=1, offline=True),
)

SOURCES: Mapping[str, Source] = MappingProxyType({row.name: row for row in ROWS})

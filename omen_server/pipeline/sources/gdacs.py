"""
Disaster alerts of GDACS, as RSS and as GeoJSON.

Episodes are states of one event: its id is type and number, and the newest episode wins. The times of the JSON have no
zone: they are taken as UTC, and `zone_assumed` says so.

Attributes: event_type, event_name, event_id, episode_id, glide, alert_level, alert_score, from, to, is_current,
countries, iso3, severity, severity_unit, severity_text, zone_assumed.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any
from xml.etree.ElementTree import Element

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.markup import read_xml
from omen_server.pipeline.sources.moment import read_mail_date, read_moment, write_moment
from omen_server.pipeline.sources.node import Node, Unfit, line, read_json
from omen_server.pipeline.sources.place import features, middle
from omen_server.pipeline.sources.source import Parsed, SourceMalformed

NAME = "gdacs"
LICENCE = "Copyright European Union; syndication allowed with acknowledgement (GDACS)"
GDACS = "{http://www.gdacs.org}"
GEO = "{http://www.w3.org/2003/01/geo/wgs84_pos#}"
GEORSS = "{http://www.georss.org/georss}"
TAGS = {
    "eventtype": GDACS + "eventtype",
    "eventid": GDACS + "eventid",
    "episodeid": GDACS + "episodeid",
    "eventname": GDACS + "eventname",
    "glide": GDACS + "glide",
    "alertlevel": GDACS + "alertlevel",
    "alertscore": GDACS + "alertscore",
    "fromdate": GDACS + "fromdate",
    "todate": GDACS + "todate",
    "datemodified": GDACS + "datemodified",
    "iscurrent": GDACS + "iscurrent",
    "country": GDACS + "country",
    "iso3": GDACS + "iso3",
    "name": "title",
    "description": "description",
    "link": "link",
}


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read the feed, or an answer of the event list.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        nodes = [from_rss(item, at) for at, item in enumerate(rss_items(body))]
    else:
        nodes = features(NAME, read_json(NAME, body))
    harvest.gather(nodes, partial(disaster, harvest))
    return harvest.parsed()


def rss_items(body: bytes) -> list[Element]:
    """
    Return the items of the feed.
    """
    root = read_xml(NAME, body)
    channel = root.find("channel")
    if root.tag != "rss" or channel is None:
        raise SourceMalformed(NAME, root.tag[:100], "is no RSS feed")
    return channel.findall("item")


def from_rss(item: Element, at: int) -> Node:
    """
    Return an item of the feed in the shape of the JSON.
    """
    properties: dict[str, Any] = {name: item.findtext(tag) for name, tag in TAGS.items()}
    properties["datemodified"] = properties["datemodified"] or item.findtext("pubDate")
    severity = item.find(GDACS + "severity")
    if severity is not None:
        properties["severitydata"] = {
            "severity": severity.get("value"),
            "severityunit": severity.get("unit"),
            "severitytext": severity.text,
        }
    latitude, longitude = item.findtext(f".//{GEO}lat"), item.findtext(f".//{GEO}long")
    if latitude is None or longitude is None:
        latitude, _, longitude = (item.findtext(f".//{GEORSS}point") or "").strip().partition(" ")
    geometry = {"type": "Point", "coordinates": [longitude, latitude]} if latitude else None
    return Node({"properties": properties, "geometry": geometry}, f"item[{at}]")


def disaster(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return one event, in the state of one episode.
    """
    properties = node["properties"]
    moments = {key: moment(properties[key]) for key in ("datemodified", "fromdate", "todate")}
    observed = moments["datemodified"] or moments["fromdate"]
    if observed is None:
        raise Unfit(properties["datemodified"].place, "is missing")
    kind, number = properties["eventtype"].name(), properties["eventid"].name()
    link = properties["link"]
    if link.value is None and isinstance(properties["url"].value, dict):
        link = properties["url"]["report"]
    countries = properties["country"].maybe_text()
    event = harvest.event(
        f"{kind}-{number}",
        properties["name"].maybe_text() or line(f"{kind} {properties['eventname'].maybe_text()} {countries}"),
        observed[0],
        description=properties["description"].maybe_prose(),
        url=link.maybe_link(),
        attributes=[
            ("from", told(moments["fromdate"])),
            ("to", told(moments["todate"])),
            ("zone_assumed", any(each is not None and not each[1] for each in moments.values()) or None),
            *said(properties),
        ],
    )
    event.location.CopyFrom(Location(name=countries))
    middle(node["geometry"], event.location)
    return event


def moment(node: Node) -> tuple[datetime, bool] | None:
    """
    Return a time and whether its zone was said: RSS writes those of mail, JSON those of ISO 8601 without a zone.
    """
    text = node.maybe_text()
    if not text:
        return None
    if text[0].isdigit():
        return node.read(lambda: read_moment(text))
    return node.read(lambda: read_mail_date(text)), True


def told(moment_and_zone: tuple[datetime, bool] | None) -> str:
    """
    Return a time as an attribute.
    """
    return write_moment(moment_and_zone[0]) if moment_and_zone else ""


def said(properties: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield what else is said of an event.
    """
    for name, key in (
        ("event_type", "eventtype"),
        ("event_id", "eventid"),
        ("episode_id", "episodeid"),
        ("event_name", "eventname"),
        ("glide", "glide"),
        ("alert_level", "alertlevel"),
        ("countries", "country"),
        ("iso3", "iso3"),
    ):
        yield name, properties[key].maybe_text()
    yield "alert_score", properties["alertscore"].maybe_number()
    yield "is_current", properties["iscurrent"].maybe_flag()
    severity = properties["severitydata"]
    if severity.value is not None:
        yield "severity", severity["severity"].maybe_number()
        yield "severity_unit", severity["severityunit"].maybe_text()
        yield "severity_text", severity["severitytext"].maybe_text()

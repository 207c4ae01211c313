"""
Weather alerts of the US National Weather Service, as GeoJSON.

An Update takes the place of the alerts it refers to, a Cancel takes them away: neither those nor the Cancel become
events. An alert without a shape keeps its zones (`ugc`), so that a place can be looked up; none is made up.

Attributes: event, message_type, severity, certainty, urgency, status, category, response, area, effective, onset,
expires, ends, headline, instruction, sender, affected_zones, ugc, same, references, vtec.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import write_moment
from omen_server.pipeline.sources.node import LIST_ITEMS_MAX, Node, Unfit, line, read_json
from omen_server.pipeline.sources.place import features, middle
from omen_server.pipeline.sources.source import Parsed

NAME = "nws"
LICENCE = "US government open data (NWS)"


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a collection of alerts, or one alone.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    nodes = features(NAME, read_json(NAME, body))
    gone = replaced(nodes)
    harvest.gather(nodes, partial(alert, harvest, gone))
    return harvest.parsed()


def replaced(nodes: list[Node]) -> dict[str, tuple[datetime, str]]:
    """
    Return the ids of alerts that others in the same answer replace or take away, each with the other's time and id.

    An exercise takes nothing away, and neither does an alert that cannot be read.
    """
    gone: dict[str, tuple[datetime, str]] = {}
    for node in nodes:
        properties = node["properties"] if isinstance(node.value, dict) else Node({}, node.place)
        try:
            if properties["status"].text() == "Actual" and properties["messageType"].text() in {"Update", "Cancel"}:
                by = properties["sent"].moment(), properties["id"].name()
                gone |= {name: max(by, gone.get(name, by)) for name in references(properties)}
        except Unfit:
            continue  # Whatever is wrong with it is told when its turn comes.
    return gone


def references(properties: Node) -> list[str]:
    """
    Return the ids an alert refers to: the source writes objects, older archives plain ids.
    """
    nodes = properties["references"].nodes()[:LIST_ITEMS_MAX]
    return [(node["identifier"] if isinstance(node.value, dict) else node).name() for node in nodes]


def alert(harvest: Harvest, gone: dict[str, tuple[datetime, str]], node: Node) -> RawSignalEvent:
    """
    Return one alert as an event.
    """
    properties = node["properties"]
    name = properties["id"].name()
    kind = properties["messageType"].maybe_text()
    if properties["status"].text() != "Actual":
        raise Unfit(properties["status"].place, f"is {properties['status'].text(40)}, not Actual")
    if kind == "Cancel":
        raise Unfit(properties["messageType"].place, "is Cancel: the alert is over")
    sent = properties["sent"].moment()
    if gone.get(name, (sent, name)) > (sent, name):
        raise Unfit(properties["id"].place, f"is replaced by {gone[name][1]}")
    area = properties["areaDesc"].maybe_text()
    event = harvest.event(
        name,
        properties["headline"].maybe_text() or line(f"{properties['event'].text()}: {area}".removesuffix(": ")),
        sent,
        description=properties["description"].maybe_prose(),
        url=node["id"].maybe_link(),
        attributes=[*said(properties), *times(properties)],
    )
    event.location.CopyFrom(Location(name=area, country="US"))
    middle(node["geometry"], event.location)
    return event


def said(properties: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield the words and codes of an alert.
    """
    for name, key in (
        ("event", "event"),
        ("message_type", "messageType"),
        ("severity", "severity"),
        ("certainty", "certainty"),
        ("urgency", "urgency"),
        ("status", "status"),
        ("category", "category"),
        ("response", "response"),
        ("area", "areaDesc"),
        ("headline", "headline"),
        ("sender", "senderName"),
    ):
        yield name, properties[key].maybe_text()
    yield "instruction", properties["instruction"].maybe_prose()
    yield "affected_zones", sorted(zone.rpartition("/")[2] for zone in properties["affectedZones"].maybe_texts())
    geocode = properties["geocode"]
    if geocode.value is not None:
        yield "ugc", sorted(geocode["UGC"].maybe_texts())
        yield "same", sorted(geocode["SAME"].maybe_texts())
    yield "references", sorted(references(properties))
    if properties["parameters"].value is not None:
        yield "vtec", sorted(properties["parameters"]["VTEC"].maybe_texts())


def times(properties: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield an alert's times in UTC; the source writes those of its office's clock. An open end stays open.
    """
    for key in ("effective", "onset", "expires", "ends"):
        moment = properties[key].maybe_moment()
        yield key, moment and write_moment(moment)

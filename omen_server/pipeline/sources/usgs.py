"""
Earthquakes of the US Geological Survey: the GeoJSON summary feeds, and the same shape from its event service.

A quake changes its id when another network takes over, and lists all of them: the smallest of `ids` is its id here, and
the latest state wins.

Attributes: magnitude, magnitude_type, depth_km, alert, status, tsunami, significance, felt, mmi, cdi, network, ids,
kind, occurred_at, place.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import write_moment
from omen_server.pipeline.sources.node import NAME_CHARS_MAX, Node, Unfit, line, read_json
from omen_server.pipeline.sources.place import features, middle
from omen_server.pipeline.sources.source import Parsed

NAME = "usgs"
LICENCE = "public domain, credit USGS"
DEPTH_KM_MAX = 1_000.0


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a feed. A quake was observed when its entry was last updated.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    harvest.gather(features(NAME, read_json(NAME, body)), partial(quake, harvest))
    rename(harvest.events)
    return harvest.parsed()


def rename(events: list[RawSignalEvent]) -> None:
    """
    Give events that share any of their ids the same one, the smallest among all of them.
    """
    leaders: dict[str, str] = {}

    def leader(name: str) -> str:
        while leaders.setdefault(name, name) != name:
            name = leaders[name]
        return name

    for event in events:
        for name in ids_of(event):
            first, second = sorted((leader(event.source_event_id), leader(name)))
            leaders[second] = first
    for event in events:
        event.source_event_id = leader(event.source_event_id)


def ids_of(event: RawSignalEvent) -> list[str]:
    """
    Return every id of a quake.
    """
    return [value.string_value for value in event.attributes["ids"].values]  # type: ignore[union-attr]


def quake(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return one quake as an event.
    """
    properties = node["properties"]
    if properties["status"].maybe_text() == "deleted":
        raise Unfit(properties["status"].place, "is deleted")
    name = node["id"].name()
    ids = sorted({name, *properties["ids"].maybe_text(NAME_CHARS_MAX).split(",")} - {""})
    magnitude = properties["mag"].maybe_number()
    where = properties["place"].maybe_text()
    occurred = properties["time"].maybe_moment_ms()
    observed = properties["updated"].maybe_moment_ms() or occurred
    if observed is None:
        raise Unfit(properties["updated"].place, "is missing")
    made_up = f"M {magnitude:.1f} - {where}" if magnitude is not None else f"Earthquake - {where}"
    event = harvest.event(
        name,
        properties["title"].maybe_text() or line(made_up),
        observed,
        url=properties["url"].maybe_link(),
        attributes=[
            ("ids", ids),
            ("magnitude", magnitude),
            ("occurred_at", occurred and write_moment(occurred)),
            ("depth_km", depth(node["geometry"])),
            *said(properties),
        ],
    )
    event.location.CopyFrom(Location(name=where))
    middle(node["geometry"], event.location)
    return event


def depth(geometry: Node) -> float | None:
    """
    Return the third coordinate, kilometres below the ground.
    """
    if geometry.value is None:
        return None
    parts = geometry["coordinates"].nodes()
    return None if len(parts) < 3 or parts[2].value is None else kilometres(parts[2])


def kilometres(node: Node) -> float:
    """
    Return a depth that the Earth has room for.
    """
    depth_km = node.number()
    if abs(depth_km) > DEPTH_KM_MAX:
        raise Unfit(node.place, f"is beyond {DEPTH_KM_MAX:g} km")
    return depth_km


def said(properties: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield what else is said of a quake. No alert level is not a green one.
    """
    for name, key in (
        ("alert", "alert"),
        ("status", "status"),
        ("network", "net"),
        ("magnitude_type", "magType"),
        ("kind", "type"),
        ("place", "place"),
    ):
        yield name, properties[key].maybe_text()
    for name, key in (
        ("tsunami", "tsunami"),
        ("significance", "sig"),
        ("felt", "felt"),
        ("mmi", "mmi"),
        ("cdi", "cdi"),
    ):
        yield name, properties[key].maybe_number()

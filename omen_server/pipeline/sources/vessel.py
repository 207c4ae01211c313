"""
A ship's position report, whatever brought it. What AIS marks as not available is left out; a report without a position
becomes no event.

Attributes: mmsi, ship_name, message, speed_kn, course_deg, heading_deg, navigation_status, second, rate_of_turn_code.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import Node, Unfit, line

LATITUDE_NONE = 91.0
LONGITUDE_NONE = 181.0
SPEED_NONE = 102.3
COURSE_NONE = 360.0
HEADING_END = 360  # 511 says that there is none, and anything between is no heading either.
SECOND_NONE = 60
STATUS_NONE = 15
TURN_NONE = -128


def vessel_event(harvest: Harvest, report: Node, observed_at: datetime) -> RawSignalEvent:
    """
    Return a position report as an event. Its id is the ship's: a later report is a later state of the same ship.
    """
    mmsi = report["mmsi"].maybe_text()
    if not (len(mmsi) == 9 and mmsi.isascii() and mmsi.isdigit()):
        raise Unfit(report["mmsi"].place, "is no MMSI of 9 digits")
    latitude = angle(report["latitude"], LATITUDE_NONE, 90.0)
    longitude = angle(report["longitude"], LONGITUDE_NONE, 180.0)
    name = report["ship_name"].maybe_text(100)
    event = harvest.event(
        f"mmsi-{mmsi}",
        line(f"Vessel {name or mmsi} position"),
        observed_at,
        attributes=[("mmsi", mmsi), ("ship_name", name), *said(report)],
    )
    event.location.latitude = latitude
    event.location.longitude = longitude
    return event


def angle(node: Node, none: float, most: float) -> float:
    """
    Return a coordinate that the ship did say.
    """
    value = node.number()
    if value == none:
        raise Unfit(node.place, "is not available")
    if not -most <= value <= most:
        raise Unfit(node.place, f"is beyond {most:g} degrees")
    return round(value, 6) + 0.0


def said(report: Node) -> Iterator[tuple[str, Any]]:
    """
    Yield what else the ship did say.
    """
    yield "message", report["message"].maybe_text(60)
    for key, first, none in (
        ("speed_kn", 0.0, SPEED_NONE),
        ("course_deg", 0.0, COURSE_NONE),
        ("heading_deg", 0, HEADING_END),
        ("second", 0, SECOND_NONE),
        ("navigation_status", 0, STATUS_NONE),
    ):
        value = report[key].maybe_number()
        yield key, value if value is not None and first <= value < none else None
    turn = report["rate_of_turn_code"].maybe_number()
    yield "rate_of_turn_code", None if turn == TURN_NONE else turn

"""
Ships' positions from aisstream.io: one JSON object a frame; a recording has one a line, or a list of them.

A stream also carries confirmations, other kinds of messages and junk: they are skipped and counted. The newest report
of each ship counts.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

import orjson

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import ITEMS_MAX, Node, Unfit, check_body, line, read_lines
from omen_server.pipeline.sources.source import Parsed, SourceRefused
from omen_server.pipeline.sources.vessel import vessel_event

NAME = "ais"
LICENCE = "aisstream.io terms of service"
REPORTS = ("PositionReport", "StandardClassBPositionReport", "ExtendedClassBPositionReport")


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read recorded frames.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    check_body(NAME, body)
    nodes = list(frames(harvest, body))
    if len(nodes) == 1 and isinstance(nodes[0].value, dict) and nodes[0].value.get("error") is not None:
        raise SourceRefused(NAME, "error", line(str(nodes[0].value["error"]), 200))
    harvest.gather(nodes, partial(frame, harvest))
    return harvest.parsed()


def frames(harvest: Harvest, body: bytes) -> Iterator[Node]:
    """
    Yield the frames, junk left out.
    """
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        whole = None
    if isinstance(whole, dict):
        yield Node(whole, "frame[0]")
        return
    pieces = whole if isinstance(whole, list) else [row for _, row in read_lines(NAME, body)]
    for at, piece in enumerate(pieces):
        if at == ITEMS_MAX:
            harvest.skip(f"frame[{at}]", f"{len(pieces) - at} frames after the first {ITEMS_MAX} are not read")
            return
        try:
            yield Node(orjson.loads(piece) if isinstance(piece, bytes) else piece, f"frame[{at}]")
        except orjson.JSONDecodeError:
            harvest.skip(f"frame[{at}]", "is junk")


def frame(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return one frame as an event.
    """
    kind = node["MessageType"].text(60)
    if kind not in REPORTS:
        raise Unfit(node["MessageType"].place, f"is {kind}, no position report")
    report, about = node["Message"][kind], node["MetaData"]
    if report["Valid"].maybe_flag() is False:
        raise Unfit(report["Valid"].place, "is false")
    known = {
        "mmsi": about["MMSI"].value if report["UserID"].value is None else report["UserID"].value,
        "ship_name": about["ShipName"].value,
        "message": kind,
        "latitude": report["Latitude"].value,
        "longitude": report["Longitude"].value,
        "speed_kn": report["Sog"].value,
        "course_deg": report["Cog"].value,
        "heading_deg": report["TrueHeading"].value,
        "navigation_status": report["NavigationalStatus"].value,
        "second": report["Timestamp"].value,
        "rate_of_turn_code": report["RateOfTurn"].value,
    }
    return vessel_event(harvest, Node(known, node.place), about["time_utc"].moment())

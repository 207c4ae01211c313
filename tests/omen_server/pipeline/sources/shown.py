"""
Short ways to look at an event in a test.
"""

from typing import Any

from google.protobuf import json_format

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.sources.source import Parsed
from tests.omen_server.pipeline import goldens


def attributes(event: RawSignalEvent) -> dict[str, Any]:
    """
    Return an event's attributes as plain values.
    """
    return dict(json_format.MessageToDict(event.attributes))


def by_id(name: str) -> dict[str, RawSignalEvent]:
    """
    Return a fixture's events by their ids.
    """
    return {event.source_event_id: event for event in goldens.parse(name).events}


def only(name: str) -> RawSignalEvent:
    """
    Return a fixture's one event.
    """
    (event,) = goldens.parse(name).events
    return event


def reasons(parsed: Parsed) -> list[str]:
    """
    Return why items were skipped.
    """
    return [f"{each.place}: {each.reason}" for each in parsed.skipped]

"""
The raw events whose signals are pinned in golden.json. Run as a module to pin them anew, and read the difference.
"""

from pathlib import Path

import orjson

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc.signal_json import to_object
from omen_server.pipeline.run import run_batch
from tests.omen_server.pipeline.raw_events import (
    NOW,
    RULES,
    alert,
    article,
    event,
    market,
    price,
    quake,
    report,
    transits,
    vessels,
)

FILE = Path(__file__).parent / "golden.json"


CYCLONE = {"event_type": "TC", "alert_level": "Orange", "severity": 120}


def batch() -> list[RawSignalEvent]:
    """
    Return one event of each kind, several about one matter, and the seeds' two titles.
    """
    events = [
        market(),
        market("Suez canal delay probability", source_event_id="evt-002", probability=0.55),
        market("Euro 2028 winner", source_event_id="evt-003"),
        article(),
        article("Suez Canal traffic halves as ships take the Cape route", "article-2", age_s=7_200, domain="ft.com"),
        alert(),
        quake(),
        event("gdacs", "Orange alert for tropical cyclone near Singapore", attributes=CYCLONE),
        price(),
        transits(),
        vessels(),
        report(probability=0.4),
    ]  # fmt: skip
    for at, raw in enumerate(events):
        raw.source_event_id = raw.source_event_id or f"evt-{at:03}"
    return events


def judged() -> bytes:
    """
    Return what becomes of the batch, as JSON.
    """
    outcomes = run_batch(batch(), RULES, NOW)
    written = [
        to_object(outcome.event) if outcome.event else {"rejected_by": outcome.rejected_by, "reason": outcome.reason}
        for outcome in outcomes
    ]
    return orjson.dumps(written, option=orjson.OPT_INDENT_2) + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(judged())

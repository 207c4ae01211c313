import orjson

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import decode_json

MOMENT = "2026-01-28T10:00:05.123456Z"
VERDICT = {"version": "1.0.0", "status": "PASSED", "score": 0.9, "parameters": {"minimum": 1000.0, "seen": 25400.5}}


def typical_signal(verdicts: int = 4) -> SignalEvent:
    """
    Return a signal of the size that the pipeline makes them, with the verdicts of so many rules.
    """
    signal = {
        "signal_id": "OMEN-DEMO001ABCD",
        "title": "Red Sea transit disruption",
        "probability": 0.72,
        "confidence_score": 0.85,
        "confidence_level": "HIGH",
        "category": "GEOPOLITICAL",
        "generated_at": MOMENT,
        "validation": [VERDICT | {"name": f"rule-{number}"} for number in range(verdicts)],
    }
    envelope = {
        "schema_version": "1.0.0",
        "signal_id": "OMEN-DEMO001ABCD",
        "deterministic_trace_id": "a1b2c3d4e5f6a7b8",
        "input_event_hash": "sha256:" + "a" * 64,
        "source_event_id": "evt-001",
        "ruleset_version": "1.0.0",
        "observed_at": MOMENT,
        "emitted_at": MOMENT,
        "signal": signal,
    }
    return decode_json(orjson.dumps(envelope))

"""
What encoding, stamping and reading a typical signal cost, in microseconds: ``python bench/codec.py``.
"""

import timeit
from collections.abc import Callable

import orjson

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import (
    PayloadKind,
    Position,
    content_digest,
    decode,
    decode_json,
    digest_and_prepare,
    encode_json,
    position_hash,
    position_of,
    prepare,
)

POSITION = Position("2026-01-28", (1 << 32) + 1, 1, 1, 0, 1_769_594_405_123_456_789)
MOMENT = "2026-01-28T10:00:05.123456Z"


def typical(verdicts: int = 4) -> SignalEvent:
    """
    Return a signal with context, one evidence and the verdicts of so many rules.
    """
    verdict = {"version": "1.0.0", "status": "PASSED", "score": 0.9, "parameters": {"minimum": 1000.0, "seen": 25400.5}}
    envelope = {
        "schema_version": "1.0.0",
        "signal_id": "OMEN-DEMO001ABCD",
        "deterministic_trace_id": "a1b2c3d4e5f6a7b8",
        "input_event_hash": "sha256:" + "a" * 64,
        "source_event_id": "evt-001",
        "ruleset_version": "1.0.0",
        "observed_at": MOMENT,
        "emitted_at": MOMENT,
        "signal": {
            "signal_id": "OMEN-DEMO001ABCD",
            "title": "Red Sea transit disruption",
            "probability": 0.72,
            "confidence_score": 0.85,
            "confidence_level": "HIGH",
            "category": "GEOPOLITICAL",
            "generated_at": MOMENT,
            "context": {
                "regions": ["Red Sea"],
                "chokepoints": ["bab-el-mandeb", "suez"],
                "keywords": ["houthi", "transit"],
                "temporal": {"horizon_days": 3, "freshness": "current"},
            },
            "evidence": [
                {"source": "polymarket", "type": "market", "url": "https://x.example/y", "observed_at": MOMENT}
            ],
            "validation": [{"name": f"rule_{number}", **verdict} for number in range(verdicts)],
        },
    }
    return decode_json(orjson.dumps(envelope))


def report(name: str, call: Callable[[], object], calls: int = 3_000) -> None:
    """
    Print the best of seven runs.
    """
    best = min(timeit.repeat(call, number=calls, repeat=7)) / calls
    print(f"  {name:<28}{best * 1e6:8.2f} µs {1 / best:12,.0f}/s")


def report_kind(event: SignalEvent, kind: PayloadKind) -> None:
    """
    Print what one kind of payload costs on its way into the ledger and out of it.
    """
    prepared = prepare(event, kind)
    payload = prepared.stamp(POSITION)
    print(f"{kind}, {len(payload)} bytes")
    report("prepare", lambda: prepare(event, kind))
    report("digest_and_prepare", lambda: digest_and_prepare(event, kind))
    report("stamp", lambda: prepared.stamp(POSITION))
    report("decode", lambda: decode(payload))
    report("position_of", lambda: position_of(payload))


def report_event(event: SignalEvent) -> None:
    """
    Print what one signal costs.
    """
    print(f"a signal with {len(event.signal.validation)} verdicts")
    report("encode_json", lambda: encode_json(event))
    report("content_digest", lambda: content_digest(event))
    report_kind(event, "json")
    report_kind(event, "protobuf")


def main() -> None:
    """
    Print all figures.
    """
    for verdicts in (0, 4):
        report_event(typical(verdicts))
    print("positions")
    report("Position", lambda: Position("2026-01-28", 1, 1, 1, 0, 1))
    report("position_hash", lambda: position_hash("2026-01-28", 1, "OMEN-DEMO001ABCD", "sha256:" + "a" * 64))


if __name__ == "__main__":
    main()

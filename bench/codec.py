"""
What encoding, stamping and reading a typical signal cost, in microseconds: ``python bench/codec.py``.
"""

import timeit
from collections.abc import Callable

from omen.v1.signal_pb2 import SignalEvent
from omen_cli.bench.typical import typical_signal
from omen_rpc.signal_codec import (
    PayloadKind,
    Position,
    content_digest,
    decode,
    digest_and_prepare,
    encode_json,
    position_hash,
    position_of,
    prepare,
)

POSITION = Position("2026-01-28", (1 << 32) + 1, 1, 1, 0, 1_769_594_405_123_456_789)


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
        report_event(typical_signal(verdicts))
    print("positions")
    report("Position", lambda: Position("2026-01-28", 1, 1, 1, 0, 1))
    report("position_hash", lambda: position_hash("2026-01-28", 1, "OMEN-DEMO001ABCD", "sha256:" + "a" * 64))


if __name__ == "__main__":
    main()

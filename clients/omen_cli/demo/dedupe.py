"""
The proof of deduplication: one call, then several at one moment, then many without a first.
"""

import asyncio

from omen.v1.signal_pb2 import SignalEvent
from omen_cli.demo.claims import Claim, Show
from omen_cli.demo.signals import item, signal_id
from omen_client import Duplicate, Ingested, RiskCastClient

AFTERWARDS = 5
AT_ONCE = 20
FIRST = 500

ONE_THEN_FIVE = Claim(
    "dedupe",
    "1×200, N×409: one accepted, rest deduped. (Here: 1×OK, N×ALREADY_EXISTS.)",  # noqa: RUF001 - a multiplication sign
    "tests/riskcast_server/test_ingest.py::test_concurrent_ingest_dedupe",
)
ALL_AT_ONCE = Claim(
    "dedupe-at-once",
    f"{AT_ONCE} calls at one moment with a signal nobody has seen: one winner, and every other is told its ack.",
    "tests/riskcast_server/test_ingest.py::test_concurrent_ingest_dedupe",
)
CLAIMS = (ONE_THEN_FIVE, ALL_AT_ONCE)


async def dedupe(riskcast: str, show: Show, seed: int) -> None:
    """
    Bring the same signal again and again to the RiskCast at an address, each in a call of its own.
    """
    async with RiskCastClient(riskcast, timeout_s=30) as far:
        before = (await far.stats()).stored
        with show.step(ONE_THEN_FIVE) as step:
            one = _event(seed, FIRST)
            first = await far.ingest_alone(one)
            step.saw("first", type(first).__name__, Ingested.__name__)
            rest = await asyncio.gather(*(far.ingest_alone(one) for _ in range(AFTERWARDS)))
            step.saw("ok", 1, 1)
            step.saw("already_exists", sum(isinstance(each, Duplicate) for each in rest), AFTERWARDS)
            step.saw("different_acks", len({first.ack_id, *(each.ack_id for each in rest)}), 1)
            step.saw("rows", (await far.stats()).stored - before, 1)
            step.measured["ack_id"] = first.ack_id
        with show.step(ALL_AT_ONCE) as step:
            other = _event(seed, FIRST + 1)
            all_ = await asyncio.gather(*(far.ingest_alone(other) for _ in range(AT_ONCE)))
            step.saw("ok", sum(isinstance(each, Ingested) for each in all_), 1)
            step.saw("already_exists", sum(isinstance(each, Duplicate) for each in all_), AT_ONCE - 1)
            step.saw("different_acks", len({each.ack_id for each in all_}), 1)
            step.saw("rows", (await far.stats()).stored - before, 2)


def _event(seed: int, number: int) -> SignalEvent:
    """
    Return a signal in the envelope in which OMEN sends it, without a place in a ledger.
    """
    given = item(seed, number)
    return SignalEvent(
        schema_version="1.0.0",
        signal_id=signal_id(seed, number),
        deterministic_trace_id=f"{seed:08d}{number:08d}"[-16:],
        input_event_hash="sha256:demo",
        source_event_id=given.signal.source_event_id,
        ruleset_version="1.0.0",
        observed_at=given.observed_at,
        emitted_at=given.emitted_at,
        signal=given.signal,
    )

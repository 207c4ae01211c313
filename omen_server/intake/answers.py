"""
What a caller is told of the signals it brought, and how long it waits for RiskCast to say it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from omen.v1 import signal_service_pb2 as pb
from omen_rpc.errors import CallError, item_error
from omen_rpc.paging import ITEMS_BYTES_MAX, item_bytes
from omen_server.emitter import Emitter
from omen_server.intake.keeping import Kept
from omen_server.outcomes import PENDING, Outcome, left

AWAIT_S = 2.0
BEFORE_DEADLINE_S = 0.1
UNCONNECTED = left("No RiskCast is configured")
LEFT_OUT = "The answer has no room for the signal itself: ask GetSignal for it."
# What needs no further push: RiskCast has spoken, for good.
FINAL = (pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_DUPLICATE, pb.EMIT_STATUS_REJECTED)


def patience_s(delivery: pb.Delivery.ValueType, context: Any) -> float | None:
    """
    Return how long a call waits for RiskCast: 2 s, or 100 ms less than it has itself; None when it wants no waiting.
    """
    if delivery == pb.DELIVERY_LEDGER:
        return None
    left_s = context.time_remaining()
    return AWAIT_S if left_s is None else max(0.0, min(AWAIT_S, left_s - BEFORE_DEADLINE_S))


async def outcomes(emitter: Emitter | None, kept: Sequence[Kept], wait_s: float | None) -> dict[int, Outcome]:
    """
    Return what RiskCast said of each signal, by offset; what is still under way when the time is up is pending.
    """
    known = {each.item.offset: Outcome(each.status, each.ack_id) for each in kept if each.status in FINAL}
    if emitter is not None:
        # The index hears of it a moment later than the hot path.
        heard = {each.item.offset: emitter.known(each.item.offset) for each in kept if each.cached}
        known.update({offset: outcome for offset, outcome in heard.items() if outcome and outcome.status in FINAL})
    if wait_s is None:
        durable = Outcome(pb.EMIT_STATUS_DURABLE)
        return {each.item.offset: known.get(each.item.offset, durable) for each in kept}
    if emitter is None:
        return {each.item.offset: known.get(each.item.offset, UNCONNECTED) for each in kept}
    # What has no ack here is pushed once more if it came long ago: RiskCast answers with the first ack it ever gave.
    waited = {
        each.item.offset: asyncio.ensure_future(
            emitter.push(each.item) if each.cached else emitter.outcome(each.item.offset)
        )
        for each in kept
        if each.item.offset not in known
    }
    if waited:
        # Nobody waits for a push that cannot begin before the waiting is over.
        patience = wait_s if emitter.delay_s < wait_s else 0.0
        _, late = await asyncio.wait(waited.values(), timeout=patience)
        for task in late:
            task.cancel()
        for offset, task in waited.items():
            known[offset] = PENDING if task in late else task.result()
    return known


def result_of(kept: Kept, outcome: Outcome) -> pb.EmitResult:
    """
    Return what a caller is told of one signal.
    """
    return pb.EmitResult(
        status=outcome.status,
        event=kept.item.event,
        ack_id=outcome.ack_id,
        duplicate_of_offset=kept.item.offset if kept.cached else 0,
        cached=kept.cached,
        detail=outcome.detail,
    )


def fit(results: Sequence[pb.EmitOutcome]) -> Sequence[pb.EmitOutcome]:
    """
    Return the results of a batch cut to what one answer may hold: the last ones keep their envelopes only.
    """
    room = ITEMS_BYTES_MAX
    for at, outcome in enumerate(results):
        # Whoever comes after this one needs so much in any case.
        reserve = 1024 * (len(results) - at - 1)
        if item_bytes(outcome) > room - reserve and outcome.HasField("result"):
            result = outcome.result
            result.ClearField("explanation")
            if item_bytes(outcome) > room - reserve:
                result.ClearField("verdicts")
                result.event.ClearField("signal")
                result.detail = " ".join(filter(None, (result.detail, LEFT_OUT)))
        room -= item_bytes(outcome)
    return results


def outcome_error(error: CallError) -> pb.EmitOutcome:
    """
    Return an item's error as its result.
    """
    return pb.EmitOutcome(error=item_error(error))

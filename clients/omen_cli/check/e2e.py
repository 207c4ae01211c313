import asyncio
import secrets
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import OmenSignal
from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.options import Output, Servers
from omen_client import NotFound, RiskCastClient

ASKED_EVERY_S = 0.05


async def e2e(
    *,
    warn_ms: Annotated[float | None, Parameter(help="Warn when the way takes this long.")] = 1000.0,
    crit_ms: Annotated[float | None, Parameter(help="Alarm when it takes this long.")] = 5000.0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Send one made-up signal through OMEN into RiskCast's store, find it there, and say how long that took.

    It leaves one record in the ledger and one stored signal, for good: the ledger forgets nothing. They are known by an
    id that begins with OMEN-CHECKE2E and by the title `Synthetic signal of omen check e2e`, have no category and no
    probability, and are streamed to subscribers like any other. A call that is repeated appends nothing.

    Example: omen check e2e --crit-ms 2000
    """
    check_limits(warn_ms, crit_ms, "ms")
    chosen = servers or Servers()
    signal = synthetic(datetime.now(UTC))

    async def checking(verdict: Verdict) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with chosen.omen_client() as omen:
            result = await omen.emit(signal)
        answered_ms = (loop.time() - began_s) * 1000
        verdict.measure(Figure("answered_ms", answered_ms), "")
        place = f"{signal.signal_id} at {result.event.ledger_partition} {result.event.ledger_index}"
        verdict.text = f"{place} answered in {answered_ms:.0f} ms"
        if result.status in {pb.EMIT_STATUS_LEDGER_ONLY, pb.EMIT_STATUS_REJECTED}:
            verdict.alarm("the signal is durable and not with RiskCast; reconciling will recover it")
            return
        try:
            async with chosen.riskcast_client() as riskcast, asyncio.timeout(chosen.timeout_s):
                ack_id = await stored(riskcast, signal.signal_id)
        except TimeoutError:
            verdict.alarm(f"RiskCast has not stored it after {chosen.timeout_s:g} s; reconciling will recover it")
            return
        took_ms = (loop.time() - began_s) * 1000
        verdict.measure(Figure("stored_ms", took_ms, warn_ms, crit_ms), f"it took {took_ms:.0f} ms to the store")
        if result.ack_id not in {"", ack_id}:
            verdict.alarm(f"OMEN was told the ack {result.ack_id}, and RiskCast has {ack_id}")
        verdict.text += f", stored in {took_ms:.0f} ms"

    return await concluded(output, "e2e", checking)


def synthetic(at: datetime) -> OmenSignal:
    """
    Return a signal that nobody takes for a real one, with an id of its own.
    """
    return OmenSignal(
        signal_id=f"OMEN-CHECKE2E{at:%Y%m%dT%H%M%S}{secrets.token_hex(2).upper()}",
        title="Synthetic signal of omen check e2e",
        description="Sent by a monitor to see whether the way works. It says nothing about the world.",
    )


async def stored(riskcast: RiskCastClient, signal_id: str) -> str:
    """
    Return the ack of a signal as soon as RiskCast has it.
    """
    while True:
        try:
            return (await riskcast.processed(signal_id)).ack_id
        except NotFound:
            await asyncio.sleep(ASKED_EVERY_S)

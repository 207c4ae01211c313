"""
SIGTERM while emits are in flight.
"""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client import Unavailable
from omen_rpc.status import from_rpc_error
from tests.e2e.pair import ledger_of, omen, raw, ready
from tests.e2e.scripted_riskcast import scripted
from tests.hosting import channel_to

IN_FLIGHT = 50
DRAIN_S = 2.0
SLACK_S = 8.0
# Whoever waits for RiskCast would wait for 2 s; a drain lets nobody.
HURRY_S = 1.5


def calls(channel: grpc.aio.Channel) -> list[Any]:
    """
    Send emits and submits, and retry nothing.
    """
    stub = SignalServiceStub(channel)
    return [
        stub.SubmitEvent(pb.SubmitEventRequest(event=raw(number)), timeout=20)
        if number % 2
        else stub.EmitSignal(pb.EmitSignalRequest(signal=ready(number).signal), timeout=20)
        for number in range(IN_FLIGHT)
    ]


@pytest.mark.parametrize("answers", ["at once", "never"])
async def test_a_drain_answers_every_emit(tmp_path: Path, answers: str) -> None:
    """
    SIGTERM with fifty emits in flight, and a RiskCast that answers or does not: each gets its outcome or Unavailable,
    what was acknowledged is in the ledger as it was told, and the process ends with 0 within its drain time.
    """
    acknowledged: list[pb.EmitResult] = []
    async with scripted(tmp_path) as script:
        async with omen(tmp_path, f"--drain-timeout-s={DRAIN_S}") as (server, _), channel_to(server.address) as channel:
            if answers == "never":
                script.gate.clear()
            waiting = [asyncio.ensure_future(each) for each in calls(channel)]
            if answers == "never":
                async with asyncio.timeout(30):
                    await script.called.wait()
            else:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            began_s = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert time.monotonic() - began_s < HURRY_S, "somebody was kept waiting for RiskCast"
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    assert isinstance(outcome, grpc.aio.AioRpcError), outcome
                    error = from_rpc_error(outcome)
                    # What reaches grpc in the very moment it stops is CANCELLED by it; a client takes that alike.
                    assert isinstance(error, Unavailable), error
                else:
                    acknowledged.append(outcome.result)
            assert await server.wait() == 0
            assert time.monotonic() - began_s < DRAIN_S + SLACK_S
            assert not [line for line in server.lines if line["event"] in {"text", "unforeseen_error", "task_ended"}]
        assert acknowledged, "nothing was in flight"
        pushed = {event.signal_id for event in script.events}
        for result in acknowledged:
            assert result.status in {pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_LEDGER_ONLY}
            assert (result.event.signal_id in pushed) or result.status == pb.EMIT_STATUS_LEDGER_ONLY
        script.gate.set()
        async with omen(tmp_path) as (_, near):
            records = {event.signal_id: event for event in await ledger_of(near)}
            assert all(records[result.event.signal_id] == result.event for result in acknowledged)
            assert len(records) <= IN_FLIGHT

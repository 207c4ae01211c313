"""
What SubmitEvent answers while RiskCast is up, down, slow, or ahead of it; both are processes of their own.
"""

import asyncio
import time
from pathlib import Path

from omen.v1 import signal_service_pb2 as pb
from omen.v1.operations_service_pb2 import BREAKER_STATE_OPEN
from omen.v1.signal_pb2 import SignalEvent
from omen_client import Ingested, OmenClient
from omen_rpc.errors import CallError, Reason, fault
from tests.e2e.pair import SOON, emitted, ledger_of, omen, raw, ready, riskcast
from tests.e2e.scripted_riskcast import scripted

# What a busy machine may add to a time that is promised: less than the attempts to come would take.
SLACK_S = 8.0


def away() -> CallError:
    """
    Make the error of a RiskCast that is not there for anybody.
    """
    return fault(Reason.ERROR_REASON_STARTING, metadata={"retry_after_s": 0.01}, retry_after_s=0.01)


async def test_what_riskcast_stored_is_delivered_with_its_ack(tmp_path: Path) -> None:
    """
    With RiskCast up the answer is DELIVERED with the ack that RiskCast has stored, and GetSignal says the same.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near):
        result = await near.submit(raw(1))
        assert result.status == pb.EMIT_STATUS_DELIVERED
        stored = await far.processed(result.event.signal_id)
        assert (stored.ack_id, stored.event) == (result.ack_id, result.event)
        assert (stored.ledger_partition, stored.event.ledger_offset) == (result.event.ledger_partition, 1)
        looked = await near.signal(result.event.signal_id)
        assert looked.event == result.event
        assert await ledger_of(near) == [result.event]


async def test_with_riskcast_down_the_ledger_has_it_in_time(tmp_path: Path) -> None:
    """
    With RiskCast down the answer is LEDGER_ONLY within two seconds, and the ledger has the signal.
    """
    async with omen(tmp_path) as (_, near):
        began_s = time.monotonic()
        result = await near.submit(raw(1))
        assert time.monotonic() - began_s < 2 + SLACK_S
        assert (result.status, result.ack_id) == (pb.EMIT_STATUS_LEDGER_ONLY, "")
        assert await ledger_of(near) == [result.event]


async def test_a_slow_riskcast_is_waited_for_until_shortly_before_the_deadline(tmp_path: Path) -> None:
    """
    RiskCast keeps its answer back: the caller's is `pending` after 2 s, or before its own deadline if that is sooner;
    once the answer comes, the same event is told with it.
    """
    async with scripted(tmp_path) as script, omen(tmp_path) as (server, near):
        script.gate.clear()
        async with OmenClient(server.address, timeout_s=0.8) as hasty:
            pending = await hasty.submit(raw(1))
        assert (pending.status, pending.detail) == (pb.EMIT_STATUS_LEDGER_ONLY, "pending")
        began_s = time.monotonic()
        waited = await near.submit(raw(2))
        assert (waited.status, waited.detail) == (pb.EMIT_STATUS_LEDGER_ONLY, "pending")
        assert 1.9 < time.monotonic() - began_s < 2 + SLACK_S
        script.gate.set()
        again = await near.submit(raw(1))
        assert (again.status, again.cached, again.event) == (pb.EMIT_STATUS_DELIVERED, True, pending.event)
        assert again.ack_id == f"ack-{pending.event.signal_id}"
        assert len(await ledger_of(near)) == 2


async def test_behind_an_open_breaker_answers_come_at_once_and_nobody_calls(tmp_path: Path) -> None:
    """
    After the breaker has opened, twenty events are LEDGER_ONLY without one call to RiskCast, and none waits for it:
    each is told when RiskCast is asked again.
    """
    async with scripted(tmp_path) as script, omen(tmp_path, *SOON) as (_, near):
        script.failure = away
        assert (await near.submit(raw(0))).status == pb.EMIT_STATUS_LEDGER_ONLY
        hot_path = await near.operations.hot_path()
        assert hot_path.riskcast.state == BREAKER_STATE_OPEN
        called = script.calls
        results = [await near.submit(raw(number)) for number in range(1, 21)]
        assert {result.status for result in results} == {pb.EMIT_STATUS_LEDGER_ONLY}
        assert all("it is asked again in" in result.detail for result in results), results
        assert script.calls == called
        assert len(await ledger_of(near)) == 21
        assert (await near.operations.hot_path()).settled_offset == 21


async def test_a_killed_riskcast_that_comes_back_gets_what_is_new(tmp_path: Path) -> None:
    """
    RiskCast is killed and comes back where it was: the breaker hears of it long before its own time. What is submitted
    then is delivered, new or submitted before.
    """
    async with omen(tmp_path, *SOON) as (_, near):
        async with riskcast(tmp_path) as (there, _):
            assert (await near.submit(raw(1))).status == pb.EMIT_STATUS_DELIVERED
            there.process.kill()
            await there.wait()
            assert (await near.submit(raw(2))).status == pb.EMIT_STATUS_LEDGER_ONLY
            assert (await near.operations.hot_path()).riskcast.state == BREAKER_STATE_OPEN
        async with riskcast(tmp_path) as (_, far):
            async with asyncio.timeout(30):
                while (result := await near.submit(raw(2))).status != pb.EMIT_STATUS_DELIVERED:
                    assert result.cached
            assert (await far.processed(result.event.signal_id)).ack_id == result.ack_id
            assert (await near.submit(raw(3))).status == pb.EMIT_STATUS_DELIVERED
        assert len(await ledger_of(near)) == 3


async def test_duplicate_when_riskcast_returns_409(tmp_path: Path) -> None:
    """
    A signal that RiskCast was sent by somebody else before, made of a raw event or ready: DUPLICATE, with the ack that
    the other one got.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near):
        validated = await near.submit(raw(1), validate_only=True)
        assert validated.status == pb.EMIT_STATUS_VALIDATED
        made, brought = validated.event, SignalEvent(signal_id=ready(1).signal.signal_id, signal=ready(1).signal)
        for event in (made, brought):
            event.emitted_at.GetCurrentTime()
            first = await far.ingest(event)
            assert isinstance(first, Ingested)
            result = await near.submit(raw(1)) if event is made else await near.emit(ready(1).signal)
            assert (result.status, result.ack_id) == (pb.EMIT_STATUS_DUPLICATE, first.ack_id)
            assert not result.cached, "OMEN has it for the first time"
        assert [each.signal_id for each in await ledger_of(near)] == [made.signal_id, brought.signal_id]


async def test_a_caller_who_wants_no_waiting_gets_none(tmp_path: Path) -> None:
    """
    DELIVERY_LEDGER answers DURABLE while RiskCast answers nobody, and RiskCast has the signal all the same afterwards.
    """
    async with scripted(tmp_path) as script, omen(tmp_path) as (_, near):
        script.gate.clear()
        result = await near.submit(raw(1), delivery=pb.DELIVERY_LEDGER)
        (event,) = await emitted(near, [1], delivery=pb.DELIVERY_LEDGER)
        assert result.status == pb.EMIT_STATUS_DURABLE
        script.gate.set()
        assert (await near.submit(raw(1))).status == pb.EMIT_STATUS_DELIVERED
        assert (await near.emit(ready(1).signal)).status == pb.EMIT_STATUS_DELIVERED
        assert {each.signal_id for each in script.events} == {result.event.signal_id, event.signal_id}

"""
What RiskCast refuses for good, and what a poller brings, over restarts of a real OMEN.
"""

import asyncio
from pathlib import Path

from omen.v1 import operations_service_pb2 as operations_pb
from omen.v1 import signal_service_pb2 as pb
from omen_client import OmenClient
from tests.e2e.pair import ledger_of, omen, raw, ready, riskcast
from tests.e2e.scripted_riskcast import scripted


async def letters(client: OmenClient) -> list[operations_pb.DeadLetter]:
    """
    Return the dead letters, oldest first.
    """
    return [letter async for letter in client.operations.dead_letters()]


async def test_a_refused_signal_is_kept_until_it_is_cured_or_purged(tmp_path: Path) -> None:
    """
    Refused for good: REJECTED, in the ledger, and a dead letter that outlives a kill. Requeued in vain it stays with
    one attempt more; cured, it is delivered and the letter is gone; another is purged, and neither comes back.
    """
    signals = {number: ready(number).signal for number in (1, 2, 3)}
    async with scripted(tmp_path) as script:
        script.refused = {signals[1].title, signals[2].title}
        async with omen(tmp_path) as (server, near):
            results = await near.emit_all([ready(1), ready(2), ready(3)])
            assert [result.status for result in results if isinstance(result, pb.EmitResult)] == [
                pb.EMIT_STATUS_REJECTED,
                pb.EMIT_STATUS_REJECTED,
                pb.EMIT_STATUS_DELIVERED,
            ]
            assert len(await ledger_of(near)) == 3
            async with asyncio.timeout(30):
                while len(before := await letters(near)) < 2:
                    pass
            assert {letter.signal_id for letter in before} == {signals[1].signal_id, signals[2].signal_id}
            server.process.kill()
            await server.wait()
        async with omen(tmp_path) as (server, near):
            one, other = sorted(await letters(near), key=lambda letter: letter.signal_id)
            assert [one, other] == sorted(before, key=lambda letter: letter.signal_id)
            assert (one.reason, "not liked" in one.message) == ("INVALID_FIELDS", True)
            told = await near.operations.requeue([one.dead_letter_id])
            assert (told.succeeded, told.failed) == (0, 1)
            async with asyncio.timeout(30):
                while (await letters(near))[0].attempts + (await letters(near))[1].attempts == 2 * one.attempts:
                    pass
            assert [letter.signal_id for letter in await letters(near)] == [each.signal_id for each in before]
            script.refused.clear()
            told = await near.operations.requeue([one.dead_letter_id])
            assert (told.succeeded, told.failed) == (1, 0)
            assert [letter.dead_letter_id for letter in await letters(near)] == [other.dead_letter_id]
            assert await near.operations.purge([other.dead_letter_id]) == 1
            assert await letters(near) == []
            cured = await near.emit(signals[1])
            assert (cured.status, cured.cached) == (pb.EMIT_STATUS_DELIVERED, True)
            assert await server.stop() == 0
        async with omen(tmp_path) as (_, near):
            assert await letters(near) == []
            assert len(await ledger_of(near)) == 3
            looked = await near.signal(signals[1].signal_id)
            assert (looked.status, looked.ack_id) == (pb.EMIT_STATUS_DELIVERED, f"ack-{signals[1].signal_id}")


async def test_a_refused_raw_event_is_rejected_whoever_asks_again(tmp_path: Path) -> None:
    """
    A raw event whose signal RiskCast refuses is REJECTED each time it is brought, and there is one letter of it.
    """
    async with scripted(tmp_path) as script, omen(tmp_path) as (_, near):
        script.refused = {raw(1).title}
        results = [await near.submit(raw(1)) for _ in range(3)]
        assert {result.status for result in results} == {pb.EMIT_STATUS_REJECTED}
        assert [result.cached for result in results] == [False, True, True]
        async with asyncio.timeout(30):
            while not await letters(near):
                pass
        assert len(await letters(near)) == len(await ledger_of(near)) == 1
        assert (await near.operations.requeue(every=True)).failed == 1
        script.refused.clear()
        assert (await near.operations.requeue(every=True)).succeeded == 1
        assert (await letters(near), (await near.submit(raw(1))).status) == ([], pb.EMIT_STATUS_DELIVERED)


async def test_polled_events_flow_by_themselves(tmp_path: Path) -> None:
    """
    With a source polled every second its events become signals that subscribers and RiskCast get, and GetHotPath names
    the source's breaker beside RiskCast's; SIGTERM in the middle of it ends with 0.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path, "--poll=stub=1") as (server, near):
        async with near.stream(from_beginning=True, heartbeat_s=1) as stream:
            async with asyncio.timeout(20):
                item = await anext(stream)
        hot_path = await near.operations.hot_path()
        assert [breaker.name for breaker in hot_path.sources] == ["stub"]
        assert hot_path.sources[0].state == hot_path.riskcast.state == operations_pb.BREAKER_STATE_CLOSED
        async with asyncio.timeout(20):
            while (await near.operations.stats()).events_received < 30:
                pass
        records = await ledger_of(near)
        assert item.event == records[0]  # type: ignore[union-attr]  # No gaps here.
        for event in records:
            assert (await near.verify_signal(event)).matches
        async with asyncio.timeout(20):
            while (await near.operations.hot_path()).settled_offset < len(records):
                pass
        found = await far.lookup([event.signal_id for event in records])
        assert not found.unknown
        assert await server.stop() == 0
        assert not [line for line in server.lines if line["event"] in {"text", "unforeseen_error", "task_ended"}]

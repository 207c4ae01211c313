"""
The reconciler with real processes: the stage script, RiskCast killed, RiskCast restored, the reconciler killed.
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.operations_service_pb2 import BREAKER_STATE_OPEN
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_client import OmenClient, RiskCastClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH, INGEST_ORIGIN_RECONCILE, IngestBatchItem
from tests.e2e.command import command
from tests.e2e.pair import PUSHES_NOTHING, SOON, emitted, ledger_of, omen, ready, riskcast
from tests.e2e.reconciling import begun, ran, reconciler

DAY, NOON = "2026-01-28", datetime(2026, 1, 28, 12, tzinfo=UTC)


def demo(number: int) -> EmitSignalItem:
    """
    Return the n-th signal of the seeds' day.
    """
    item = ready(number)
    item.signal.signal_id = f"OMEN-DEMO2026DEMO{number:03d}"
    item.emitted_at.FromDatetime(NOON)
    return item


async def origins(far: RiskCastClient) -> dict[str, int]:
    """
    Return on which way each signal came to RiskCast.
    """
    return {each.signal_id: each.origin async for each in far.list_processed()}


async def stored(far: RiskCastClient, enough: int) -> dict[str, int]:
    """
    Return the same once RiskCast has *enough* signals: what is on its way to it comes without being announced.
    """
    async with asyncio.timeout(30):
        while len(found := await origins(far)) < enough:  # noqa: ASYNC110 - RiskCast has no event stream
            await asyncio.sleep(0.05)
    return found


async def acks(far: RiskCastClient) -> dict[str, str]:
    """
    Return each signal's ack at RiskCast.
    """
    return {each.signal_id: each.ack_id async for each in far.list_processed(page_size=500)}


async def test_the_case_of_the_seeds(tmp_path: Path) -> None:
    """
    Ten signals in the ledger, DEMO005 and DEMO009 missing at RiskCast: the run says so to the letter, brings both as
    reconciled, and the next one has nothing to do.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path, PUSHES_NOTHING) as (_, near):
        await near.emit_all([demo(number) for number in range(1, 11)], delivery=pb.DELIVERY_LEDGER)
        records = await ledger_of(near)
        brought = [IngestBatchItem(signal=each) for at, each in enumerate(records, 1) if at not in (5, 9)]
        await far.ingest_batch(brought, origin=INGEST_ORIGIN_HOT_PATH)
        assert (await far.stats()).stored == 8
        await near.seal(DAY, force=True)
        before = await acks(far)
        ended = await ran(tmp_path, "--partition", DAY)
        assert (ended.code, ended.lines) == (
            0,
            [
                "Reconciling partition: 2026-01-28",
                "Ledger has 10 signals for 2026-01-28",
                "Processed 8 signals for 2026-01-28",
                "Found 2 missing signals for 2026-01-28",
                "✓ 2026-01-28: replayed 2 signals",
            ],
        ), ended.err
        assert {name for name, origin in (await origins(far)).items() if origin == INGEST_ORIGIN_RECONCILE} == {
            "OMEN-DEMO2026DEMO005",
            "OMEN-DEMO2026DEMO009",
        }
        after = await acks(far)
        assert len(after) == 10
        assert before.items() <= after.items()
        ended = await ran(tmp_path, "--all")
        assert (ended.code, ended.lines) == (0, [f"Reconciling partition: {DAY}", "SKIPPED up_to_date"])


async def back(near: OmenClient) -> None:
    """
    Wait until OMEN's hot path has noticed that RiskCast is there again.
    """
    async with asyncio.timeout(30):
        while (await near.operations.hot_path()).riskcast.state == BREAKER_STATE_OPEN:  # noqa: ASYNC110 - nobody is told of a breaker
            await asyncio.sleep(0.05)


async def flowing(near: OmenClient, enough: asyncio.Event) -> None:
    """
    Emit signals, each to its answer, until it is enough: an emit cut short may be pushed after we have looked.
    """
    for number in count(1000):
        if enough.is_set():
            break
        await near.emit_all([ready(number)])
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
async def test_the_stage_script(tmp_path: Path) -> None:
    """
    Emit 5, kill RiskCast, emit 2, start it again, reconcile: 7 and 7, two of them replayed, while new ones keep
    flowing on the hot path. Without `--include-open` the open day is left alone.
    """
    async with omen(tmp_path, *SOON) as (_, near):
        async with riskcast(tmp_path) as (server, _):
            await emitted(near, range(1, 6))
            assert await server.stop(signal.SIGKILL) == -signal.SIGKILL
        lost = await emitted(near, [6, 7])
        async with riskcast(tmp_path) as (_, far):
            ended = await ran(tmp_path, "--all")
            assert ended.code == 0
            assert "SKIPPED main_partition_not_sealed" in ended.lines
            assert len(await acks(far)) == 5
            await back(near)
            enough = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(flowing(near, enough))
                ended = await ran(tmp_path, "--all", "--include-open")
                enough.set()
            assert ended.code == 0, (ended.out, ended.err)
            assert any(line.endswith(": replayed 2 signals") for line in ended.lines), ended.out
            kept = {each.signal_id for each in await ledger_of(near)}
            found = await stored(far, len(kept))
            assert {name for name, origin in found.items() if origin == INGEST_ORIGIN_RECONCILE} == {
                each.signal_id for each in lost
            }
            assert kept == set(found)


@pytest.mark.timeout(120)
async def test_going_round_it_notices_a_kill(tmp_path: Path) -> None:
    """
    A reconciler that serves brings what RiskCast missed while it was dead, within rounds and without being told, and
    `omen reconcile status` says how the day stands.
    """
    async with omen(tmp_path, *SOON) as (_, near):
        async with riskcast(tmp_path) as (server, _):
            await emitted(near, range(1, 21))
            assert await server.stop(signal.SIGKILL) == -signal.SIGKILL
        async with reconciler(tmp_path, "--interval=1") as (own, rounds):
            lost = await emitted(near, range(21, 41))
            # Rounds are made meanwhile, and fail: nobody is blamed for it.
            assert await own.line("reconcile_failed")
            assert [each.signal_id async for each in rounds.parked()] == []
            async with riskcast(tmp_path) as (_, far):
                assert await own.line("round", replayed=20)
                found = await origins(far)
                assert len(found) == 40
                assert {found[each.signal_id] for each in lost} == {INGEST_ORIGIN_RECONCILE}
                (partition,) = [each.partition_date async for each in near.partitions()]
                line = ("status", "--reconciler", own.address, "-o", "json")
                code, out, err = await command("reconcile", *line)
                assert (code, err) == (0, "")
                assert partition in out
                assert "COMPLETED" in out
                assert (await rounds.state(partition)).reason == "up_to_date"
            assert await own.stop() == 0


@pytest.mark.timeout(120)
async def test_going_round_it_notices_a_restore(tmp_path: Path) -> None:
    """
    RiskCast is stopped and put back to a backup after COMPLETED: the next round notices and brings the rest.
    """
    async with omen(tmp_path, *SOON) as (_, near):
        async with riskcast(tmp_path) as (server, _):
            await emitted(near, range(1, 11))
            code, _, err = await program(tmp_path, "backup", "yesterday.db")
            assert code == 0, err
            await emitted(near, range(11, 21))
            assert (await ran(tmp_path, "--all", "--include-open")).code == 0
            assert await server.stop() == 0
        code, _, err = await program(tmp_path, "restore", "yesterday.db")
        assert code == 0, err
        async with riskcast(tmp_path) as (_, far), reconciler(tmp_path, "--interval=1") as (own, _):
            assert await own.line("round", replayed=10)
            assert len(await acks(far)) == 20


async def program(place: Path, verb: str, file: str) -> tuple[int, str, str]:
    """
    Run ``riskcast-server backup`` or ``restore``.
    """
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "riskcast-server",
        verb,
        place / file,
        f"--store=sqlite:///{place}/riskcast.db",
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    return process.returncode or 0, "", err.decode()


@pytest.mark.timeout(120)
async def test_a_killed_reconciler_is_made_up_for(tmp_path: Path) -> None:
    """
    Killed in the middle of a replay, the next one waits out the lease and ends it: each signal once, acks unchanged.
    """
    async with omen(tmp_path, PUSHES_NOTHING) as (_, near), riskcast(tmp_path) as (_, far):
        await emitted(near, range(1, 1001), delivery=pb.DELIVERY_LEDGER)
        process = await begun(tmp_path, "--all", "--include-open", "--replay-rate=200", "--lease-s=3")
        async with asyncio.timeout(30):
            while (await far.stats()).stored < 200:  # noqa: ASYNC110 - RiskCast tells nobody
                await asyncio.sleep(0.05)
        process.kill()
        await process.communicate()
        before = await acks(far)
        assert 200 <= len(before) < 1000
        ended = await ran(tmp_path, "--all", "--include-open", "--lease-s=3")
        assert ended.code == 0, (ended.out, ended.err)
        after = await acks(far)
        assert set(after) == {each.signal_id for each in await ledger_of(near)}
        assert before.items() <= after.items()
        assert f"replayed {1000 - len(before)} signals" in ended.out

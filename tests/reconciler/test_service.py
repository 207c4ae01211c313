"""
ReconcileService over real gRPC, asked by the typed client and by the command, over a real world behind it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from omen_client import CallError, InvalidRequest, NotFound
from omen_client.reconcile import ReconcileClient
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.app import SERVICE, TRANSLATE
from reconciler.service import ReconcileService
from reconciler.settings import ReconcilerSettings
from tests.e2e.command import command
from tests.hosting import hosted
from tests.ledgers import NEXT, signal_id
from tests.reconciler.world import DAY, TOMORROW, World, status, world


@dataclass
class Asked:
    """
    A world, and the service over it.
    """

    world: World
    client: ReconcileClient
    address: str

    async def omen(self, *line: str) -> tuple[int, object]:
        """
        Run ``omen reconcile``; return its exit code and what it printed.
        """
        code, out, err = await command("reconcile", *line, "--reconciler", self.address, "-o", "json")
        return code, json.loads(out) if out else err

    async def run(self, **request: object) -> list[pb.ReconcileResult]:
        """
        Make a round by a call.
        """
        frames = self.client.run(pb.RunReconcileRequest(**request))  # type: ignore[arg-type]  # Whatever is asked.
        return [frame async for frame in frames if isinstance(frame, pb.ReconcileResult)]


@asynccontextmanager
async def asked(place: Path) -> AsyncIterator[Asked]:
    """
    Serve the reconciler of a world.
    """
    async with world(place) as at:
        service = ReconcileService()
        service.begin(
            state=at.state,
            rounds=at.rounds,
            comparing=at.comparing,
            parking=at.parking,
            rate=at.rate,
            settings=ReconcilerSettings(include_open=False, replays_max=500),
        )
        async with (
            hosted(service, service=SERVICE, translate=TRANSLATE) as server,
            ReconcileClient(str(server.address), attempts_max=1) as client,
        ):
            yield Asked(at, client, str(server.address))


async def test_a_round_by_a_call(tmp_path: Path) -> None:
    """
    Progress, then a result for each partition, then the summary; states and history say the same afterwards.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 11), hot=range(1, 9))
        await at.world.seal()
        await at.world.append(range(20, 23), TOMORROW)
        before = await at.client.state(DAY)
        assert (before.needs_reconcile, before.reason) == (True, "never_reconciled")
        frames = [frame async for frame in at.client.run(pb.RunReconcileRequest(all=True))]
        first, second = [frame for frame in frames if isinstance(frame, pb.ReconcileResult)]
        assert (status(first), first.replayed_count) == (("COMPLETED", ""), 2)
        assert status(second) == ("SKIPPED", "main_partition_not_sealed")
        assert isinstance(frames[-1], pb.RunReconcileResponse.Summary)
        assert (frames[-1].completed, frames[-1].skipped, frames[-1].replayed_count) == (1, 1, 2)
        after = await at.client.state(DAY)
        assert (after.needs_reconcile, after.reason) == (False, "up_to_date")
        assert (after.state.processed_count, after.state.missing_count, after.state.final) == (10, 0, True)
        still = await at.client.state(NEXT)
        assert (still.needs_reconcile, still.reason) == (False, "main_partition_not_sealed")
        assert [each.partition_date async for each in at.client.states(page_size=1)] == [DAY]
        (run,) = [each async for each in at.client.runs(DAY)]
        assert run == first


async def test_the_server_s_own_limits_hold(tmp_path: Path) -> None:
    """
    A caller may ask for less than the settings say and never gets more.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 601), hot=[])
        await at.world.seal()
        (result,) = await at.run(partition=DAY, max_replays=50)
        assert (status(result), result.replayed_count) == (("PARTIAL", "limit"), 50)
        (result,) = await at.run(partition=DAY, max_replays=10_000)
        assert (status(result), result.replayed_count) == (("PARTIAL", "limit"), 500)
        assert [each.replayed_count async for each in at.client.runs(page_size=1)] == [500, 50]


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """
    Each bad request is told its field, and nothing is done.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 3), hot=[])
        for request, field in (
            (pb.RunReconcileRequest(partition="2026-02-30"), "partition"),
            (pb.RunReconcileRequest(since_days=0), "since_days"),
            (pb.RunReconcileRequest(all=False), "all"),
            (pb.RunReconcileRequest(all=True, mode=9), "mode"),  # type: ignore[arg-type]  # No mode at all.
        ):
            with pytest.raises(InvalidRequest) as caught:
                [frame async for frame in at.client.run(request)]
            assert [each.field for each in caught.value.violations] == [field]
        for bad in (0.0, -1.0, float("nan"), 1e9):
            with pytest.raises(InvalidRequest):
                await at.client.set_rate(bad)
        with pytest.raises(NotFound) as missing:
            await at.run(partition="2020-02-29")
        assert missing.value.reason == "PARTITION_NOT_FOUND"
        with pytest.raises(InvalidRequest):
            await at.client.waive_parked([], "none")
        with pytest.raises(InvalidRequest):
            await at.client.waive_parked([signal_id(1)], "")
        with pytest.raises(InvalidRequest):
            await at.client.pause("")
        assert at.world.far.acks() == {}


async def test_a_caller_who_goes_away_ends_the_round(tmp_path: Path) -> None:
    """
    When nobody listens any more the round is given up and its lease with it; the next one computes all of it anew.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 501), hot=[])
        await at.world.seal()
        at.world.rate.signals_per_s = 200
        async for frame in at.client.run(pb.RunReconcileRequest(partition=DAY)):
            if isinstance(frame, pb.RunReconcileResponse.Progress) and frame.replayed:
                break
        at.world.rate.signals_per_s = 1_000_000
        results: list[pb.ReconcileResult] = []
        async with asyncio.timeout(30):
            while not results:
                # Until the first one has ended.
                with suppress(CallError):
                    results = await at.run(partition=DAY)
        (result,) = results
        assert status(result) == ("COMPLETED", "")
        assert 0 < result.missing_count < 500


async def test_orders_by_call_and_by_command(tmp_path: Path) -> None:
    """
    Pause, resume and rate are heeded at once and kept; the command prints what they came to.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 3), hot=[])
        await at.world.seal()
        assert await at.omen("pause", "RiskCast is being moved") == (0, {"paused": True, "already_paused": False})
        assert await at.client.pause("again")
        assert (await at.client.overview()).paused
        with pytest.raises(CallError) as caught:
            await at.run(all=True)
        assert (caught.value.reason, caught.value.metadata["reason"]) == ("RECONCILE_PAUSED", "again")
        code, said = await at.omen("run", "--all")
        assert code != 0
        assert "paused" in str(said)
        assert await at.omen("resume") == (0, {"paused": False, "was_paused": True})
        assert await at.omen("rate", "500") == (0, {"signals_per_second": 500.0})
        assert (at.world.rate.signals_per_s, await at.world.state.control.rate()) == (500.0, 500.0)
        assert (await at.client.overview()).signals_per_second == 500.0
        code, rows = await at.omen("run", "--all")
        assert code == 0
        assert isinstance(rows, list)
        assert [(row["status"], row["replayed_count"]) for row in rows] in ([("COMPLETED", 2)], [("COMPLETED", "2")])
        for verb in (("status",), ("history",), ("status", DAY)):
            code, said = await at.omen(*verb)
            assert code == 0
            assert DAY in json.dumps(said)


async def test_parked_signals_by_call_and_by_command(tmp_path: Path) -> None:
    """
    They are listed, waived and replayed by their ids; the exit code says when one is refused again.
    """
    async with asked(tmp_path) as at:
        await at.world.append(range(1, 6), hot=[])
        await at.world.seal()
        at.world.far.door.poison = {signal_id(2), signal_id(3)}
        code, _ = await at.omen("run", DAY)
        assert code == 1
        code, _ = await at.omen("status")
        assert code == 1
        code, rows = await at.omen("parked")
        assert code == 0
        assert [name for name in (signal_id(2), signal_id(3)) if name in json.dumps(rows)] == [
            signal_id(2),
            signal_id(3),
        ]
        assert await at.omen("waive", signal_id(2), "--reason", "a test signal") == (0, {"waived": 1})
        assert await at.client.waive_parked([signal_id(2)], "asked twice") == 1
        assert [each.signal_id async for each in at.client.parked()] == [signal_id(3)]
        assert len([each async for each in at.client.parked(include_waived=True, page_size=1)]) == 2
        code, _ = await at.omen("replay", "--all", "--expect", "1")
        assert code == 1
        at.world.far.door.poison.clear()
        code, _ = await at.omen("replay", signal_id(3))
        assert code == 0
        assert [each async for each in at.client.parked()] == []
        code, _ = await at.omen("waive", signal_id(3), "--reason", "it is gone")
        assert code != 0

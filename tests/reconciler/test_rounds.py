"""
Rounds against a real ledger, a real RiskCast and a real state: what is found, brought, proven and kept.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from omen_client import CallError
from omen_rpc import metrics
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.reconcile import Wish
from reconciler.replay import Rate, Replayer
from reconciler.rounds import Target
from tests.ledgers import LATE, NEXT
from tests.reconciler.far_side import closed
from tests.reconciler.world import DAY, NOON, TOMORROW, at_once, no_pause, status, world


async def test_the_case_of_the_seeds(tmp_path: Path) -> None:
    """
    Ten signals in the ledger, eight at RiskCast: two are found, brought as reconciled and told of line by line; the
    state says 10 and nothing missing, and the second run has nothing to do.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=[1, 2, 3, 4, 6, 7, 8, 10])
        before = at.far.acks()
        await at.seal()
        result = await at.one()
        assert status(result) == ("COMPLETED", "")
        assert (result.ledger_count, result.processed_before, result.processed_count) == (10, 8, 10)
        assert (result.missing_count, result.replayed_count, result.remaining_count) == (2, 2, 0)
        assert list(result.replayed_ids) == ["OMEN-TEST000005", "OMEN-TEST000009"]
        assert (result.verified_through, result.final, result.integrity.proven) == (10, True, True)
        assert at.lines == [
            "Reconciling partition: 2026-01-28",
            "Ledger has 10 signals for 2026-01-28",
            "Processed 8 signals for 2026-01-28",
            "Found 2 missing signals for 2026-01-28",
            "✓ 2026-01-28: replayed 2 signals",
        ]
        origins = at.far.origins()
        assert {name for name, origin in origins.items() if origin == "reconcile"} == set(result.replayed_ids)
        assert before.items() <= at.far.acks().items()
        assert len(origins) == 10
        state = await at.state.runs.get(DAY)
        assert state is not None
        assert (state.processed_count, state.missing_count, state.ledger_highwater, state.final) == (10, 0, 10, True)
        assert status(await at.one()) == ("SKIPPED", "up_to_date")
        assert at.lines == ["Reconciling partition: 2026-01-28", "SKIPPED up_to_date"]
        assert len(await at.state.runs.history(DAY, 0, 10)) == 1


async def test_an_open_day_is_left_alone_unless_asked_for(tmp_path: Path) -> None:
    """
    A main partition that is not sealed is SKIPPED; with `include_open` it is compared, and is not final.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[1, 2, 4])
        assert status(await at.one()) == ("SKIPPED", "main_partition_not_sealed")
        assert await at.state.runs.get(DAY) is None
        result = await at.one(include_open=True)
        assert (status(result), result.replayed_count, result.final) == (("COMPLETED", ""), 2, False)
        await at.append(range(6, 9), hot=[6, 7])
        result = await at.one(include_open=True)
        assert (status(result), result.missing_count, result.verified_through) == (("COMPLETED", ""), 1, 8)
        assert (await at.near.client.partition(DAY)).partition.reconciled_through == 0
        await at.seal()
        result = await at.one()
        assert (status(result), result.missing_count, result.final) == (("COMPLETED", ""), 0, True)
        assert (await at.near.client.partition(DAY)).partition.reconciled_through == 8


async def test_what_may_still_be_on_its_way_is_not_missing(tmp_path: Path) -> None:
    """
    Above the settled watermark nothing is compared and nothing replayed; when it has risen, the rest is.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=[1, 2, 4, 5])
        at.settled[DAY] = 5
        result = await at.one(include_open=True)
        assert (status(result), list(result.replayed_ids)) == (("COMPLETED", ""), ["OMEN-TEST000003"])
        assert (result.verified_through, result.highwater, result.ledger_count) == (5, 10, 5)
        at.settled[DAY] = 0
        assert status(await at.one(include_open=True)) == ("SKIPPED", "nothing_settled")
        at.settled[DAY] = 10
        result = await at.one(include_open=True)
        assert (result.missing_count, result.replayed_count, result.verified_through) == (5, 5, 10)


async def test_late_arrivals_are_compared_among_themselves(tmp_path: Path) -> None:
    """
    A late partition is reconciled though open, after its day's own; neither makes the other's signals something extra.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[1, 2, 3, 5])
        await at.seal()
        await at.append(range(6, 9), NOON, hot=[7])
        await at.append(range(20, 22), TOMORROW, hot=[20])
        results = await at.round()
        assert [each.partition_date for each in results] == [DAY, LATE, NEXT]
        assert [status(each)[0] for each in results] == ["COMPLETED", "COMPLETED", "SKIPPED"]
        assert [each.replayed_count for each in results] == [1, 2, 0]
        assert not any(each.extra_ids or each.integrity.findings for each in results)
        summary = at.frames[-1].summary
        assert (summary.completed, summary.skipped, summary.replayed_count, summary.remaining_count) == (2, 1, 3, 0)
        assert len(await at.round(since_days=1)) == 1
        assert len(await at.round(since_days=2)) == 3


async def test_a_round_tells_where_it_is(tmp_path: Path) -> None:
    """
    Progress names the partition, its number, and what is done there, in the order of doing; then result and summary.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[1])
        await at.seal()
        await at.round()
        phases = [each.progress.phase for each in at.frames if each.HasField("progress")]
        assert list(dict.fromkeys(phases)) == [
            pb.RECONCILE_PHASE_COMPARING,
            pb.RECONCILE_PHASE_REPLAYING,
            pb.RECONCILE_PHASE_VERIFYING,
        ]
        assert [each.WhichOneof("frame") for each in at.frames[-2:]] == ["result", "summary"]
        last = [each.progress for each in at.frames if each.HasField("progress")][-1]
        assert (last.partition, last.partition_number, last.partition_total) == (DAY, 1, 1)
        assert (last.missing, last.replayed) == (2, 2)


async def test_a_dry_run_replays_and_keeps_nothing(tmp_path: Path) -> None:
    """
    With `validate_only` it is said what is missing; RiskCast and the state stay as they were.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[1, 2])
        await at.seal()
        result = await at.one(validate_only=True)
        assert status(result) == ("PARTIAL", "validate_only")
        assert (result.missing_count, result.replayed_count, result.remaining_count) == (3, 0, 3)
        assert len(at.far.acks()) == 2
        assert await at.state.runs.get(DAY) is None
        assert await at.state.runs.history("", 0, 10) == []


async def test_a_limit_leaves_the_rest_to_the_next_round(tmp_path: Path) -> None:
    """
    A round replays no more than it may, over all partitions; what is left is PARTIAL limit, and the next one goes on.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 251), hot=[])
        await at.seal()
        await at.append(range(301, 311), hot=[])
        first, second = await at.round(replays_max=200)
        assert (status(first), first.replayed_count, first.remaining_count) == (("PARTIAL", "limit"), 200, 50)
        assert (status(second), second.replayed_count, second.remaining_count) == (("PARTIAL", "limit"), 0, 10)
        assert "✗ 2026-01-28: PARTIAL limit: replayed 200 signals, 50 remain" in at.lines
        first, second = await at.round()
        assert (status(first), first.missing_count, first.is_rereconcile) == (("COMPLETED", ""), 50, True)
        assert status(second) == ("COMPLETED", "")


async def test_the_time_is_a_limit_too(tmp_path: Path) -> None:
    """
    When the time is up nothing more is sent; what was compared is PARTIAL.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=[])
        await at.seal()
        result = await at.one(seconds_max=0.0)
        assert (status(result), result.replayed_count) == (("PARTIAL", "time_is_up"), 0)
        assert at.far.door.batches == []


async def test_nobody_to_compare_with_is_kept_as_failed(tmp_path: Path) -> None:
    """
    With RiskCast away the run is FAILED, with its error, in state and history; the next one is made for that.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[1])
        await at.seal()
        assert status(await at.one())[0] == "COMPLETED"
        at.far.ask_no_more()
        result = await at.one(force=True)
        assert status(result) == ("FAILED", "store_unavailable")
        assert at.lines[1].startswith("✗ 2026-01-28: FAILED store_unavailable: ")
        state = await at.state.runs.get(DAY)
        assert state is not None
        assert (state.status, state.final, state.verified_through) == (pb.RECONCILE_STATUS_FAILED, False, 3)
        assert state.error_message == result.error
        assert at.frames[-1].summary.failed == 1
        at.far.answer_again()
        assert status(await at.one()) == ("COMPLETED", "")
        runs = await at.state.runs.history(DAY, 0, 10)
        assert [status(run)[0] for _, run in runs] == ["COMPLETED", "FAILED", "COMPLETED"]


async def test_a_round_that_was_cut_off_is_made_up_for(tmp_path: Path) -> None:
    """
    RiskCast goes away in the middle: what arrived is not sent twice, nobody is blamed, and the next round ends it.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 501), hot=[])
        await at.seal()

        def trouble(when: str) -> None:
            if len(at.far.door.batches) > 2 and when == "before":
                raise closed()

        at.far.door.trouble = trouble
        result = await at.one()
        assert (status(result), result.replayed_count) == (("PARTIAL", "riskcast_unavailable"), 200)
        assert await at.state.parked.count() == 0
        assert list(result.failed_ids) == []
        at.far.door.trouble, acks = None, at.far.acks()
        at.restart()
        result = await at.one()
        assert (status(result), result.missing_count, result.replayed_count) == (("COMPLETED", ""), 300, 300)
        assert acks.items() <= at.far.acks().items()


async def test_what_came_another_way_counts_as_brought(tmp_path: Path) -> None:
    """
    RiskCast stored it and the answer was lost: ALREADY_EXISTS is success, and the ack is the first one.
    """
    async with world(tmp_path) as at:
        events = await at.append(range(1, 4), hot=[])
        await at.seal()
        lost: list[str] = []

        def trouble(when: str) -> None:
            if when == "after" and not lost:
                lost.append(when)
                raise closed()

        at.far.door.trouble = trouble
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), 3)
        assert len(at.far.door.batches) == 2
        assert set(at.far.origins().values()) == {"reconcile"}
        assert set(at.far.acks()) == {event.signal_id for event in events}


async def test_the_same_signal_twice_in_the_ledger(tmp_path: Path) -> None:
    """
    A signal that lies in the ledger twice is one signal: it is counted by its id and both positions are whole.
    """
    async with world(tmp_path) as at:
        await at.append([1, 2, 3, 2], hot=[1])
        await at.seal()
        result = await at.one()
        assert (status(result), result.ledger_count, result.processed_count) == (("COMPLETED", ""), 3, 3)
        assert len(at.far.acks()) == 3
        assert status(await at.one()) == ("SKIPPED", "up_to_date")


async def test_a_pause_outlives_a_restart_and_ends_a_round(tmp_path: Path) -> None:
    """
    Paused in mid-round the batch is ended and no other sent; nobody begins another round, after a restart neither.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 1001), hot=[])
        await at.seal()
        told: list[pb.RunReconcileResponse] = []
        asked = asyncio.Event()

        def tell(frame: pb.RunReconcileResponse) -> None:
            told.append(frame)
            if frame.progress.replayed >= 100:
                asked.set()

        slow = Rate(500)
        at.replayer = Replayer(at.near.client, at.far.client, slow, at_once)
        at.rounds = at.another()
        making = asyncio.create_task(at.rounds.make(Target(DAY), Wish(), tell))
        async with asyncio.timeout(20):
            await asked.wait()
            assert not await at.rounds.pause("RiskCast is being moved")
            await making
        (result,) = [frame.result for frame in told if frame.HasField("result")]
        assert status(result) == ("PARTIAL", "paused")
        assert 100 <= result.replayed_count < 1000
        at.restart()
        with pytest.raises(CallError) as caught:
            await at.one()
        assert caught.value.reason == "RECONCILE_PAUSED"
        assert caught.value.metadata["reason"] == "RiskCast is being moved"
        assert await at.rounds.resume()
        assert status(await at.one()) == ("COMPLETED", "")


async def test_a_paused_round_looks_at_no_other_partition(tmp_path: Path) -> None:
    """
    A round that is paused ends with the partition that it is at, and is no success; nor is one that leaves a gap.
    """
    success = metrics.RECONCILE_LAST_SUCCESS_TIMESTAMP
    success.set(0)
    async with world(tmp_path) as at:
        await at.append([1])
        at.clock.now += timedelta(days=1)
        await at.append([2], at.clock.now)
        pausing: list[asyncio.Task[bool]] = []
        at.far.door.trouble = lambda _when: pausing.append(asyncio.create_task(at.rounds.pause("enough")))
        at.far.lose("OMEN-TEST000001")
        (result,) = await at.round(include_open=True)
        assert (result.partition_date, status(result), success._value.get()) == (DAY, ("COMPLETED", ""), 0)
        assert not await pausing[0]
        assert await at.state.control.resume()  # As another process does.
        at.far.door.trouble = None
        at.far.door.poison = {"OMEN-TEST000002"}
        at.far.lose("OMEN-TEST000002")
        assert [status(each)[0] for each in await at.round(include_open=True)] == ["SKIPPED", "PARTIAL"]
        assert success._value.get() == 0
        at.far.door.poison.clear()
        await at.round(include_open=True)
        assert success._value.get() == at.clock.now.timestamp()


async def test_two_reconcilers_do_not_work_at_once(tmp_path: Path) -> None:
    """
    While one makes a round another is refused with LEASE_HELD; one that died keeps the others out for a lease's time.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[])
        await at.seal()
        other = at.another()
        refused: list[str] = []

        async def meanwhile() -> None:
            with pytest.raises(CallError) as caught:
                await other.make(Target(DAY), Wish(), at.heard)
            refused.append(caught.value.reason)

        at.replayer = Replayer(at.near.client, at.far.client, at.rate, meanwhile, no_pause)
        at.rounds = at.another()
        assert status(await at.one()) == ("COMPLETED", "")
        assert refused == ["LEASE_HELD"]
        assert await at.state.control.hold("somebody who dies", 60.0, at.clock.now) is not None
        with pytest.raises(CallError) as caught:
            await at.one(force=True)
        assert caught.value.reason == "LEASE_HELD"
        at.clock.now += timedelta(seconds=61)
        assert status(await at.one(force=True)) == ("COMPLETED", "")


async def test_a_partition_nobody_knows(tmp_path: Path) -> None:
    """
    A round over a partition that OMEN has not is refused, and keeps nothing.
    """
    async with world(tmp_path) as at:
        with pytest.raises(CallError) as caught:
            await at.one("2020-02-29")
        assert caught.value.reason == "PARTITION_NOT_FOUND"
        assert await at.state.runs.states("", 10) == []

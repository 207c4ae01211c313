"""
A comparison in more than one piece, and what it does when there is more than it will look at.
"""

from pathlib import Path

import pytest

from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler import comparing, reconcile
from tests.hosting import until
from tests.reconciler.far_side import closed
from tests.reconciler.test_findings import damage, findings, forged, whole
from tests.reconciler.test_poison import poisoned, sent
from tests.reconciler.world import DAY, World, status, world


@pytest.mark.timeout(20)
async def test_more_is_missing_than_one_answer_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What RiskCast tells in several answers is one coverage: each hole is found once, and the sum is over all of it.
    """
    monkeypatch.setattr(comparing, "RANGES_MAX", 2)
    async with world(tmp_path) as at:
        await at.append(range(1, 12), hot=range(1, 12, 2))
        await at.seal()
        result = await at.one()
        assert (status(result), result.missing_count, result.replayed_count) == (("COMPLETED", ""), 5, 5)
        assert (result.processed_before, result.integrity.proven) == (6, True)


async def test_blocks_are_compared_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A block that fills a comparison's batch is compared as well as those of the last one.
    """
    monkeypatch.setattr(comparing, "BLOCKS_AT_ONCE", 1)
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[1, 2, 4, 5])
        await at.push([forged(666, 3)])
        await at.seal()
        assert findings(await at.one()) == [(pb.FINDING_KIND_MISMATCH, 3, "OMEN-TEST000666")]


async def test_the_row_behind_the_last_record_is_ahead_and_the_last_is_not(tmp_path: Path) -> None:
    """
    Of a row right behind the ledger's end that row alone is named.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await at.push([forged(666, 11)])
        result = await at.one()
        assert findings(result) == [(pb.FINDING_KIND_AHEAD_OF_LEDGER, 11, "OMEN-TEST000666")]
        assert result.integrity.finding_count == 1


async def test_what_the_ledger_lost_is_named_once(tmp_path: Path) -> None:
    """
    A lost record in a block that differs anyway is met on two ways, and is one finding.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=[1, 2, *range(4, 11)])
        await at.push([forged(666, 3)])
        await at.seal()
        await damage(at, 4)
        result = await at.one()
        assert findings(result) == [
            (pb.FINDING_KIND_MISMATCH, 3, "OMEN-TEST000666"),
            (pb.FINDING_KIND_RECOVERABLE, 5, "OMEN-TEST000005"),
        ]
        assert result.integrity.finding_count == 2


async def test_too_much_is_missing_for_a_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With more missing than is read to excuse it nothing counts as proven, and nobody looks for what differs.
    """
    monkeypatch.setattr(reconcile, "EXCUSED_MAX", 4)
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=range(1, 6))
        await at.seal()
        result = await at.one(validate_only=True)
        assert (result.missing_count, result.integrity.proven) == (5, False)
        assert pb.RECONCILE_PHASE_DRILLING not in {frame.progress.phase for frame in at.frames}
        await at.push((await at.records())[5:6])
        assert (await at.one(validate_only=True)).integrity.proven


async def test_a_full_run_believes_no_cached_digest(tmp_path: Path) -> None:
    """
    A block's digest that went bad in RiskCast's cache is found out by a FULL run, which computes it from the rows.
    """
    async with world(tmp_path) as at:
        await whole(at, 1024)
        await until(lambda: bool(at.far.rows("SELECT * FROM block_cache")))
        at.far.change("UPDATE block_cache SET h1 = h1 + 1")
        assert status(await at.one()) == ("PARTIAL", "not_proven")
        assert status(await at.one(full=True)) == ("COMPLETED", "")


async def test_a_closed_way_ends_the_run(tmp_path: Path) -> None:
    """
    When RiskCast takes nothing more, those parked are not tried after what is missing: they would wait as long again.
    """
    async with world(tmp_path) as at:
        (name,) = await poisoned(at, range(1, 6), range(4, 5))
        assert status(await at.one()) == ("PARTIAL", "parked")
        at.far.lose("OMEN-TEST000002")
        sent(at)

        def trouble(_when: str) -> None:
            raise closed()

        at.far.door.trouble = trouble
        assert status(await at.one()) == ("PARTIAL", "riskcast_unavailable")
        assert name not in sent(at)
        assert await at.state.parked.count(DAY) == 1


async def test_a_look_changes_nothing(tmp_path: Path) -> None:
    """
    A run that only validates tells OMEN of nothing that is complete, and forgets nobody who was parked.
    """
    async with world(tmp_path) as at:
        (name,) = await poisoned(at, range(1, 6), range(4, 5))
        assert status(await at.one()) == ("PARTIAL", "parked")
        at.far.door.poison.clear()
        await at.push([each for each in await at.records() if each.signal_id == name])
        assert status(await at.one(validate_only=True)) == ("COMPLETED", "")
        assert (await reconciled_through(at), await at.state.parked.count(DAY)) == (0, 1)
        assert status(await at.one()) == ("COMPLETED", "")
        assert (await reconciled_through(at), await at.state.parked.count(DAY)) == (5, 0)


async def reconciled_through(at: World) -> int:
    """
    Return up to where OMEN was told that the day is complete.
    """
    return (await at.near.client.partition(DAY)).partition.reconciled_through


async def test_a_failed_run_is_a_run(tmp_path: Path) -> None:
    """
    The state says when a run was made also of one that failed, and what was verified before stays verified.
    """
    async with world(tmp_path) as at:
        await whole(at)
        at.far.ask_no_more()
        at.clock.now = at.clock.now.replace(microsecond=7)
        assert status(await at.one(force=True)) == ("FAILED", "store_unavailable")
        state = await at.state.runs.get(DAY)
        assert state is not None
        assert (state.status, state.verified_through, state.final) == (pb.RECONCILE_STATUS_FAILED, 10, False)
        assert state.last_reconcile_at.ToDatetime(at.clock.now.tzinfo) == at.clock.now

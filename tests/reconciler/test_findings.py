"""
What a reconciler notices although nothing seems to have changed, and what it reports and never touches.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import content_digest
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.state import open_state
from tests.ledgers import event, flip, payload_byte
from tests.reconciler.world import DAY, World, status, world


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    """
    Return what is logged meanwhile.
    """
    capture, before = LogCapture(), structlog.get_config()["processors"]
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(processors=before)


def forged(number: int, index: int, description: str = "") -> SignalEvent:
    """
    Return a signal that claims a position.
    """
    made = event(number, description=description)
    made.ledger_partition, made.ledger_index, made.ledger_sequence = DAY, index, (1 << 32) | index
    made.content_digest = content_digest(made)
    return made


async def whole(at: World, count: int = 10) -> None:
    """
    Bring a sealed day to both sides and have that proven.
    """
    await at.append(range(1, count + 1))
    await at.seal()
    assert status(await at.one()) == ("COMPLETED", "")


def findings(result: pb.ReconcileResult) -> list[tuple[int, int, str]]:
    """
    Return what was found: kind, position, and the signal at RiskCast.
    """
    return [(each.kind, each.ledger_index, each.stored_signal_id) for each in result.integrity.findings]


async def test_a_deleted_row_is_noticed(tmp_path: Path) -> None:
    """
    A row that somebody deletes after COMPLETED is missed by the next run and brought again; the others' acks stay.
    """
    async with world(tmp_path) as at:
        await whole(at)
        acks = at.far.acks()
        at.far.lose("OMEN-TEST000004")
        result = await at.one()
        assert (status(result), list(result.replayed_ids)) == (("COMPLETED", ""), ["OMEN-TEST000004"])
        assert at.far.origins()["OMEN-TEST000004"] == "reconcile"
        del acks["OMEN-TEST000004"]
        assert acks.items() <= at.far.acks().items()


async def test_a_restored_store_is_noticed(tmp_path: Path) -> None:
    """
    RiskCast goes back to a backup: the next run notices, brings what the backup has not, and keeps the new epoch.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 7))
        await at.far.back_up(tmp_path / "backup.db")
        await at.append(range(7, 11))
        await at.seal()
        assert status(await at.one()) == ("COMPLETED", "")
        before = await at.state.runs.get(DAY)
        await at.far.restore(tmp_path / "backup.db")
        assert len(at.far.acks()) == 6
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), 4)
        after = await at.state.runs.get(DAY)
        assert before is not None
        assert after is not None
        assert before.store_epoch != after.store_epoch
        assert status(await at.one()) == ("SKIPPED", "up_to_date")


async def test_a_restored_store_that_lacks_nothing_is_looked_at_all_the_same(tmp_path: Path) -> None:
    """
    Another epoch alone is reason enough for a run, once.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await at.far.back_up(tmp_path / "backup.db")
        await at.far.restore(tmp_path / "backup.db")
        result = await at.one()
        assert (status(result), result.missing_count, result.is_rereconcile) == (("COMPLETED", ""), 0, True)
        assert status(await at.one()) == ("SKIPPED", "up_to_date")


async def test_a_row_ahead_of_the_ledger_is_named_and_left_alone(tmp_path: Path, logged: LogCapture) -> None:
    """
    A row beyond the ledger's end is CRITICAL, with its place and id, in result and state; nobody deletes it.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await at.push([forged(666, 4000)])
        for _ in range(2):
            result = await at.one()
            assert status(result) == ("PARTIAL", "ahead_of_ledger")
            assert findings(result) == [(pb.FINDING_KIND_AHEAD_OF_LEDGER, 4000, "OMEN-TEST000666")]
            assert list(result.extra_ids) == ["OMEN-TEST000666"]
            assert not result.final
        said = [each for each in logged.entries if each["log_level"] == "critical"]
        assert {(each["ledger_index"], each["stored_signal_id"]) for each in said} == {(4000, "OMEN-TEST000666")}
        assert "OMEN-TEST000666" in at.far.acks()
        state = await at.state.runs.get(DAY)
        assert state is not None
        assert (state.status, state.reason) == (pb.RECONCILE_STATUS_PARTIAL, "ahead_of_ledger")


async def test_a_row_that_is_only_newer_than_the_watermark_is_no_finding(tmp_path: Path) -> None:
    """
    What the hot path brings while a run is under way lies in the ledger when that is asked again.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6))
        ask = at.comparing.coverage

        async def meanwhile(*some: object, **more: object) -> object:
            await at.append([len(at.far.acks()) + 100])
            return await ask(*some, **more)  # type: ignore[arg-type]  # Whatever it was asked.

        at.comparing.coverage = meanwhile  # type: ignore[method-assign,assignment]
        at.rounds = at.another()
        result = await at.one(include_open=True)
        assert (status(result), result.verified_through) == (("COMPLETED", ""), 5)


async def test_another_signal_in_a_place_is_a_mismatch(tmp_path: Path, logged: LogCapture) -> None:
    """
    A forged signal took a lost one's place: both are named with their digests, among blocks that are whole.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 2501), hot=[*range(1, 1500), *range(1501, 2501)])
        await at.push([forged(9999, 1500)])
        await at.seal()
        result = await at.one()
        assert status(result) == ("PARTIAL", "mismatch")
        (found,) = result.integrity.findings
        assert findings(result) == [(pb.FINDING_KIND_MISMATCH, 1500, "OMEN-TEST009999")]
        assert found.ledger_signal_id == "OMEN-TEST001500"
        assert found.ledger_digest == content_digest(event(1500))
        assert found.stored_digest == content_digest(event(9999))
        assert result.integrity.finding_count == 1
        assert any(each["log_level"] == "critical" for each in logged.entries)
        assert "OMEN-TEST009999" in at.far.acks()
        # What was pushed out is stored, without a place, and nothing is proven: it stays PARTIAL.
        assert status(await at.one()) == ("PARTIAL", "mismatch")


async def test_another_content_under_the_same_id_is_a_mismatch(tmp_path: Path) -> None:
    """
    A row whose content is not the ledger's is found by its digest, though id and position are right.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 6), hot=[1, 2, 4, 5])
        await at.push([forged(3, 3, "not what was said")])
        await at.seal()
        result = await at.one()
        assert (status(result), result.missing_count) == (("PARTIAL", "mismatch"), 0)
        assert findings(result) == [(pb.FINDING_KIND_MISMATCH, 3, "OMEN-TEST000003")]


async def test_a_changed_row_is_noticed_after_it_was_proven(tmp_path: Path) -> None:
    """
    A position's hash that is changed behind RiskCast's back differs from the ledger's on the next run.
    """
    async with world(tmp_path) as at:
        await whole(at, 1100)
        at.far.change("UPDATE positions SET h1 = h1 + 1 WHERE ledger_index = 7")
        result = await at.one()
        assert status(result) == ("PARTIAL", "not_proven")
        assert not result.integrity.proven


async def damage(at: World, *ranks: int) -> None:
    """
    Turn a bit over in some records of the ledger, as bad disks do.
    """
    (segment,) = sorted((at.place / "ledger").rglob("*.wal"))
    for place in [payload_byte(segment, rank) for rank in ranks]:
        flip(segment, place)


async def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    """
    Damage in the ledger, found after it was sealed, is PARTIAL and never COMPLETED: what RiskCast still has of it is
    named RECOVERABLE, what is readable is brought, and OMEN is not told that it may ever delete the day.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 11), hot=range(1, 9))
        await at.seal()
        await damage(at, 2, 8)
        result = await at.one()
        assert status(result) == ("PARTIAL", "ledger_corrupt_2")
        assert (result.integrity.corrupt_count, result.ledger_count, result.replayed_count) == (2, 8, 1)
        assert (list(result.extra_ids), result.final) == ([], False)
        assert findings(result) == [(pb.FINDING_KIND_RECOVERABLE, 3, "OMEN-TEST000003")]
        assert "OMEN-TEST000010" in at.far.acks()
        assert (await at.near.client.partition(DAY)).partition.reconciled_through == 0


async def test_damage_after_the_proof_is_found_by_a_full_run(tmp_path: Path) -> None:
    """
    A record goes bad when its day was COMPLETED long ago: a FULL run reads the ledger again and says so, also the one
    that is made every week; a day that is whole stays COMPLETED under it.
    """
    async with world(tmp_path) as at:
        await whole(at)
        assert status(await at.one(full=True)) == ("SKIPPED", "up_to_date")
        assert status(await at.one(full=True, force=True)) == ("COMPLETED", "")
        await damage(at, 4)
        assert status(await at.one()) == ("SKIPPED", "up_to_date")
        at.clock.now += timedelta(days=8)
        result = await at.one()
        assert status(result) == ("PARTIAL", "ledger_corrupt_1")
        assert (result.integrity.corrupt_count, result.missing_count) == (1, 0)


async def test_damage_on_the_way_is_said(tmp_path: Path) -> None:
    """
    A record that went bad since it was counted, and that RiskCast lacks, cannot be brought: PARTIAL says why.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await damage(at, 4)
        at.far.lose("OMEN-TEST000005")
        at.far.lose("OMEN-TEST000006")
        result = await at.one()
        assert (status(result), result.replayed_count) == (("PARTIAL", "ledger_corrupt_1"), 1)
        assert (result.integrity.corrupt_count, result.remaining_count) == (1, 1)


async def test_another_ledger_epoch_and_a_new_state_begin_anew(tmp_path: Path) -> None:
    """
    A state that is lost costs a run and nothing else: what is whole is proven again.
    """
    async with world(tmp_path) as at:
        await whole(at)
        async with open_state(f"sqlite:///{tmp_path}/other.db") as other:
            at.state = other
            at.restart()
            result = await at.one()
            assert (status(result), result.missing_count, result.is_rereconcile) == (("COMPLETED", ""), 0, False)


async def test_what_retention_deleted_is_done_for_good(tmp_path: Path, logged: LogCapture) -> None:
    """
    A partition that was proven complete and then deleted past its retention is no damage: it is skipped, in silence.
    """
    async with world(tmp_path, retention_days=30, warm_days=20, hot_days=10) as at:
        await at.append(range(1, 6))
        await at.seal()
        assert status(await at.one()) == ("COMPLETED", "")
        at.clock.now += timedelta(days=40)
        await at.near.ledger.run_lifecycle(dry_run=False)
        assert await at.records() == []
        wishes: list[dict[str, Any]] = [{}, {"force": True}, {"full": True}]
        for wish in wishes:
            assert status(await at.one(**wish)) == ("SKIPPED", "deleted_after_retention")
        assert [each for each in logged.entries if each["log_level"] == "critical"] == []
        assert len(await at.state.runs.history(DAY, 0, 10)) == 1

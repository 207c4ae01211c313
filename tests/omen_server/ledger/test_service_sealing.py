"""
Closing a partition over real gRPC: seals, what the reconciler confirms, and growing old.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

from omen.v1 import ledger_service_pb2 as pb
from tests.hosting import refusal
from tests.ledgers import DAY, LATE, TOMORROW, Clock, entries, everything, served


async def test_sealing_today_needs_force(place: Path) -> None:
    """
    A day in progress is sealed only by force; what arrives for it then goes to the late partition.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]))
        error = await refusal(at.stub.SealPartition(pb.SealPartitionRequest(partition=DAY)))
        assert (error.reason, error.metadata) == ("PARTITION_DAY_NOT_OVER", {"partition": DAY})
        sealed = await at.client.seal(DAY, force=True)
        assert (sealed.already_sealed, sealed.partition.is_sealed) == (False, True)
        [position] = await at.ledger.append(entries([2]))
        assert position.partition == LATE


async def test_sealing_again_changes_nothing(place: Path) -> None:
    """
    The second seal says so, and the manifest is the one of the first.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries([1]))
        await at.client.seal(DAY)
        manifest = (place / DAY / "_manifest.json").read_bytes()
        again = await at.client.seal(DAY)
        assert (again.already_sealed, again.partition.manifest_revision) == (True, 1)
        assert (place / DAY / "_manifest.json").read_bytes() == manifest


async def test_an_empty_partition_is_not_sealed(place: Path) -> None:
    """
    A directory without a record stays open, and whoever wants it sealed is told why.
    """
    async with served(place):
        pass
    (place / DAY).mkdir()
    async with served(place, Clock(TOMORROW)) as at:
        error = await refusal(at.stub.SealPartition(pb.SealPartitionRequest(partition=DAY)))
        assert error.reason == "PARTITION_EMPTY"
        assert not (await at.client.partition(DAY)).partition.is_sealed


async def test_callers_who_seal_at_once_get_one_seal(place: Path) -> None:
    """
    Of many who seal at the same time one did it, and the others are told that it was done.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(50)))
        answers = await asyncio.gather(*(at.client.seal(DAY) for _ in range(8)))
        assert sorted(each.already_sealed for each in answers) == [False] + [True] * 7


async def test_a_seal_outlives_its_caller(place: Path) -> None:
    """
    A caller that goes away in the middle of a seal leaves a sealed partition, not half of one.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(3000)))
        call = at.stub.SealPartition(pb.SealPartitionRequest(partition=DAY))
        while not at.ledger.names()[DAY]:  # noqa: ASYNC110 - the engine tells nobody that it has begun
            await asyncio.sleep(0)
        call.cancel()
        await at.service.close()
        assert (await at.client.partition(DAY)).partition.state == pb.PARTITION_STATE_SEALED
        assert (await everything(at.client.verify(DAY)))[-1].intact


async def test_confirming_keeps_the_highest(place: Path) -> None:
    """
    What the reconciler has proven is kept, never falls, and is shown with the partition, also after a restart.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5)))
        epoch = at.ledger.identity.ledger_epoch
        assert await at.client.confirm_reconciled(DAY, 4, epoch) == 4
        assert await at.client.confirm_reconciled(DAY, 2, epoch) == 4
    async with served(place) as at:
        assert (await at.client.partition(DAY)).partition.reconciled_through == 4


async def test_confirming_under_another_epoch(place: Path) -> None:
    """
    A proof about a ledger that has been restored since is refused with the epoch of now.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]))
        request = pb.ConfirmReconciledRequest(partition=DAY, verified_through=1, ledger_epoch="before")
        error = await refusal(at.stub.ConfirmReconciled(request))
        assert error.reason == "LEDGER_EPOCH_CHANGED"
        assert error.metadata == {"ledger_epoch": at.ledger.identity.ledger_epoch}
        assert (await at.client.partition(DAY)).partition.reconciled_through == 0


async def test_confirming_what_is_not_there(place: Path) -> None:
    """
    Nothing can be proven beyond the end, nor nothing at all.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]))
        epoch = at.ledger.identity.ledger_epoch
        beyond = pb.ConfirmReconciledRequest(partition=DAY, verified_through=2, ledger_epoch=epoch)
        assert (await refusal(at.stub.ConfirmReconciled(beyond))).reason == "POSITION_OUT_OF_RANGE"
        nothing = await refusal(at.stub.ConfirmReconciled(pb.ConfirmReconciledRequest(partition=DAY)))
        assert [each.field for each in nothing.violations] == ["ledger_epoch", "verified_through"]


async def test_the_lifecycle_by_call(place: Path) -> None:
    """
    A dry run says what a run then does; the records stay readable through every tier.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(30)))
        await at.client.seal(DAY)
        before = await everything(at.client.read_partition(DAY))
        at.clock.now = TOMORROW + timedelta(days=8)
        planned = await at.client.run_lifecycle(validate_only=True)
        assert [(step.partition, step.action) for step in planned.steps] == [(DAY, pb.LIFECYCLE_ACTION_COMPRESS)]
        assert not list((place / DAY).glob("*.gz"))
        done = await at.client.run_lifecycle()
        assert (done.step_count, done.steps[0].bytes_after < done.steps[0].bytes_before) == (1, True)
        assert (await at.client.partition(DAY)).partition.state == pb.PARTITION_STATE_WARM
        assert await everything(at.client.read_partition(DAY)) == before
        at.clock.now = TOMORROW + timedelta(days=31)
        await at.client.run_lifecycle()
        assert (await at.client.partition(DAY)).partition.state == pb.PARTITION_STATE_ARCHIVED
        assert await everything(at.client.read_partition(DAY)) == before
        assert (await at.client.run_lifecycle()).step_count == 0


async def test_nothing_is_deleted_unreconciled(place: Path) -> None:
    """
    Past retention a partition is kept until the reconciler has confirmed it, and only its tombstone is left after that.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries([1, 2]))
        await at.client.seal(DAY)
        at.clock.now = datetime(2034, 1, 1, tzinfo=TOMORROW.tzinfo)
        kept = await at.client.run_lifecycle()
        assert kept.steps[-1].action == pb.LIFECYCLE_ACTION_KEEP
        assert "0 of 2" in kept.steps[-1].detail
        await at.client.confirm_reconciled(DAY, 2, at.ledger.identity.ledger_epoch)
        assert [step.action for step in (await at.client.run_lifecycle()).steps] == [pb.LIFECYCLE_ACTION_DELETE]
        assert (await at.client.partition(DAY)).partition.state == pb.PARTITION_STATE_DELETED

import asyncio
import errno
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from omen_rpc.errors import CallError
from omen_server.index import Wanted
from omen_server.intake.keeping import Draft, Kept
from omen_server.ledger.durable import Disk
from omen_server.ledger.errors import LedgerFull
from tests.ledgers import NOON
from tests.omen_server.intake.keepers import draft, keep, kit, offsets, wanted


def delete_index(place: Path) -> None:
    """
    Remove the index with all that lies beside it.
    """
    for file in place.glob("index.db*"):
        file.unlink()


async def test_twenty_at_once_are_one_record(tmp_path: Path) -> None:
    """
    Of twenty callers that bring one signal at the same time one appends it, and nineteen are told where it lies.
    """
    async with kit(tmp_path) as at:
        found = await asyncio.gather(*(keep(at.keeper, [draft(1)]) for _ in range(20)))
        assert at.ledger.durable_offset == 1
    assert sorted(offsets([each for results in found for each in results])) == [(1, False)] + [(1, True)] * 19


async def test_twice_in_one_batch_is_one_record(tmp_path: Path) -> None:
    """
    A signal that a batch brings twice is appended once, and the second entry says so.
    """
    async with kit(tmp_path) as at:
        assert offsets(await keep(at.keeper, [draft(1), draft(2), draft(1)])) == [(1, False), (2, False), (1, True)]


@pytest.mark.parametrize("follows", [True, False])
async def test_known_before_and_after_the_index_has_it(tmp_path: Path, follows: bool) -> None:
    """
    A signal is known from the moment it is appended, whether the index has heard of it or not.
    """
    async with kit(tmp_path, follows=follows) as at:
        await keep(at.keeper, [draft(1)])
        if follows:
            await at.follower.wait_indexed(1)
        assert offsets(await keep(at.keeper, [draft(1), draft(2)])) == [(1, True), (2, False)]


async def test_known_after_a_restart_without_index(tmp_path: Path) -> None:
    """
    With the index deleted, a restart finds the same record, and the event comes back as it was written.
    """
    async with kit(tmp_path) as at:
        (first,) = await keep(at.keeper, [draft(1)])
    delete_index(tmp_path)
    async with kit(tmp_path) as at:
        (again,) = await keep(at.keeper, [draft(1)])
        assert at.ledger.durable_offset == 1
    assert isinstance(first, Kept)
    assert isinstance(again, Kept)
    assert (again.cached, again.item.event, again.item.payload()) == (True, first.item.event, first.item.payload())


async def test_other_content_is_another_record(tmp_path: Path) -> None:
    """
    One id with other content is appended: the ledger keeps what it is given, and RiskCast tells the conflict.
    """
    async with kit(tmp_path) as at:
        assert offsets(await keep(at.keeper, [draft(1), draft(1, description="other")])) == [(1, False), (2, False)]


async def test_caller_that_leaves_leaves_a_record(tmp_path: Path) -> None:
    """
    A caller that is cancelled in the middle disturbs nobody: its signal is kept and found by the next.
    """
    async with kit(tmp_path) as at:
        begun, going_on = asyncio.Event(), asyncio.Event()

        async def make(_missing: Sequence[Wanted]) -> list[Draft]:
            begun.set()
            await going_on.wait()
            return [draft(1)]

        leaving = asyncio.create_task(at.keeper.keep([wanted(draft(1))], make))
        await begun.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        joining = asyncio.create_task(keep(at.keeper, [draft(1)]))
        going_on.set()
        assert offsets(await joining) == [(1, True)]


async def test_failure_to_make_is_everybodys_answer_and_nobodys_end(tmp_path: Path) -> None:
    """
    When making a draft fails, all who wait for it are told, and the next one may try again.
    """
    async with kit(tmp_path) as at:

        async def fail(_missing: Sequence[Wanted]) -> list[Draft]:
            raise RuntimeError("no")

        [first], [second] = await asyncio.gather(
            *(at.keeper.keep([wanted(draft(1))], fail) for _ in range(2)), return_exceptions=False
        )
        assert [str(first), str(second)] == ["no", "no"]
        assert offsets(await keep(at.keeper, [draft(1)])) == [(1, False)]


class FullFor(Disk):
    """
    A disk that has no room for one partition.
    """

    name = ""

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        Write, unless it is that partition's file.
        """
        if self.name and self.name in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.ENOSPC, "no room")
        return super().write(fd, data, at)


async def test_days_fail_one_by_one(tmp_path: Path) -> None:
    """
    A batch over two days of which one cannot be written keeps the other day, and says which signals are not kept.
    """
    disk = FullFor()
    async with kit(tmp_path, disk) as at:
        disk.name = "2026-01-27"
        results = await keep(at.keeper, [draft(1), draft(2, NOON - timedelta(days=1)), draft(3)])
        assert offsets(results) == [(1, False), (2, False)]
        assert isinstance(results[1], LedgerFull)
        disk.name = ""


async def test_index_far_behind_refuses(tmp_path: Path) -> None:
    """
    When more signals wait for the index than may, a signal is refused: nobody could tell it from one that is there.
    """
    async with kit(tmp_path, follows=False, unindexed_max=3) as at:
        await keep(at.keeper, [draft(1), draft(2), draft(3)])
        with pytest.raises(CallError, match="wait for the index"):
            await keep(at.keeper, [draft(4)])
        assert at.ledger.durable_offset == 3


async def test_what_is_under_way_counts_as_waiting_for_the_index(tmp_path: Path) -> None:
    """
    The limit holds for calls at once as well: signals that are being appended will wait for the index in a moment.
    """
    async with kit(tmp_path, follows=False, unindexed_max=3) as at:
        calls = ([draft(1), draft(2)], [draft(3), draft(4)])
        kept, refused = await asyncio.gather(*(keep(at.keeper, each) for each in calls), return_exceptions=True)
        assert isinstance(kept, list)
        assert isinstance(refused, CallError)
        assert at.ledger.durable_offset == 2

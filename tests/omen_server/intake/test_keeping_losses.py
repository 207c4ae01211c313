import asyncio
import errno
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Never

import pytest

from omen_server.activity import Activity
from omen_server.index import IndexUnavailable, Wanted
from omen_server.index.follower import Follower
from omen_server.intake.keeping import Draft, Keeper
from omen_server.ledger.durable import Disk
from omen_server.stats import Stats
from omen_server.tail import Tail
from tests.contracts.memory_index import MemoryIndex, open_memory
from tests.ledgers import DAY, NOON, TOMORROW, Clock, flip, opened, payload_byte
from tests.omen_server.intake.keepers import draft, keep, kit, offsets, wanted

SPOIL = "UPDATE omen_signals SET (signal_id, content_digest, ledger_partition) = (?, ?, ?) WHERE ledger_offset = ?"


@pytest.mark.parametrize("follows", [True, False])
async def test_lost_record_is_replaced_once(tmp_path: Path, follows: bool) -> None:
    """
    A signal whose record cannot be read any more is appended anew, once: from then on the new record answers.
    """
    async with kit(tmp_path) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        await at.follower.wait_indexed(2)
    flip(segment := tmp_path / "ledger" / DAY / "signals-001.wal", payload_byte(segment, 0))
    async with kit(tmp_path, follows=follows) as at:
        found = []
        for _ in range(3):
            found += offsets(await keep(at.keeper, [draft(1)]))
            if follows:
                await at.follower.wait_indexed(at.ledger.durable_offset)
        assert found == [(3, False), (3, True), (3, True)]


async def test_lost_before_the_index_has_it(tmp_path: Path) -> None:
    """
    A record that is lost while the index is behind is replaced, and what waits for the index stays in order.
    """
    async with kit(tmp_path, follows=False) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        at.tail._window.clear()
        flip(segment := tmp_path / "ledger" / DAY / "signals-001.wal", payload_byte(segment, 0))
        assert offsets(await keep(at.keeper, [draft(1)])) == [(3, False)]
        await at.follower.catch_up()
        assert offsets(await keep(at.keeper, [draft(1), draft(2), draft(4)])) == [(3, True), (2, True), (4, False)]


async def test_index_that_began_anew_answers_nothing(tmp_path: Path) -> None:
    """
    While an index that has forgotten everything is not made again, no signal is taken for new: it is refused.
    """
    async with kit(tmp_path, follows=False) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        await at.follower.catch_up()
        await keep(at.keeper, [draft(2)])
        await at.index.projection.cut(0)
        for number in (1, 3):
            (result,) = await keep(at.keeper, [draft(number)])
            assert isinstance(result, IndexUnavailable)
        assert at.ledger.durable_offset == 2
        await at.follower.catch_up()
        assert offsets(await keep(at.keeper, [draft(1)])) == [(1, True)]


async def test_damaged_index_gives_no_other_signal(tmp_path: Path) -> None:
    """
    An index that leads to another signal's record, or nowhere, is not believed: the signal is appended anew.
    """
    async with kit(tmp_path) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        await at.follower.wait_indexed(2)
    with closing(sqlite3.connect(tmp_path / "index.db")) as database, database:
        for offset, number, partition in ((1, 9, DAY), (2, 8, "2001-01-01")):
            known = wanted(draft(number))
            values = known.signal_id, known.content_digest, partition, offset
            database.execute(SPOIL, values)
    async with kit(tmp_path) as at:
        assert offsets(await keep(at.keeper, [draft(9), draft(8)])) == [(3, False), (4, False)]


async def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """
    Closing returns when the work that was begun is done, though its caller has gone.
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
        closing_it = asyncio.create_task(at.keeper.close())
        await asyncio.wait([leaving])
        assert not closing_it.done()
        going_on.set()
        await closing_it
        assert at.ledger.durable_offset == 1


class FullAfter(Disk):
    """
    A disk that takes so many bytes of segments and no more.
    """

    left = 1 << 30

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        Write, while there is room.
        """
        if ".wal" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            if len(data) > self.left:
                raise OSError(errno.ENOSPC, "no room")
            self.left -= len(data)
        return super().write(fd, data, at)


async def test_day_that_is_kept_in_part(tmp_path: Path) -> None:
    """
    Of a batch of which the disk took the first part only, that part is kept and known, and the rest is refused.
    """
    disk, large = FullAfter(), "x" * 200_000
    async with kit(tmp_path, disk) as at:
        await keep(at.keeper, [draft(0)])
        disk.left = 3_000_000
        results = await keep(at.keeper, [draft(number, description=large) for number in range(1, 30)])
        kept = offsets(results)
        disk.left = 1 << 30
        assert 0 < len(kept) < 29
        assert all(isinstance(each, Exception) for each in results[len(kept) :])
        again = await keep(at.keeper, [draft(number, description=large) for number in range(1, len(kept) + 1)])
        assert offsets(again) == [(offset, True) for offset, _ in kept]


async def test_what_retention_has_deleted(tmp_path: Path) -> None:
    """
    A signal that was deleted after its retention is known as such, and is appended anew, once, when it comes again.
    """
    clock = Clock()
    async with opened(tmp_path, clock, retention_days=30.0) as ledger, open_memory(MemoryIndex()) as index:
        tail = Tail(ledger)
        follower = Follower(ledger.identity, tail, index)
        keeper: Keeper[Never] = Keeper(
            ledger, tail, index.lookup, lambda: follower.indexed_offset, stats=Stats(NOON), activity=Activity()
        )
        await keep(keeper, [draft(1), draft(2)])
        clock.now = TOMORROW
        await keep(keeper, [draft(3, TOMORROW)])
        await follower.catch_up()
        await ledger.seal(DAY, force=True)
        await ledger.confirm_reconciled(DAY, 2)
        clock.now += timedelta(days=40)
        await ledger.run_lifecycle(dry_run=False)
        tail._window.clear()
        known = [each for each in await index.lookup.find([wanted(draft(2)), wanted(draft(3, TOMORROW))]) if each]
        assert [await keeper.is_deleted(each) for each in known] == [True, False]
        for cached in (False, True):
            assert offsets(await keep(keeper, [draft(2, clock.now)])) == [(4, cached)]
            await follower.catch_up()

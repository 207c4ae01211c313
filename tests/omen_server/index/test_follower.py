import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from omen_rpc import metrics
from omen_server.index import Index, IndexOfAnother, IndexUnavailable, Mark, Outcome, Query, Wanted, open_index
from omen_server.index.follower import Follower
from omen_server.ledger.ledger import Ledger
from omen_server.tail import Tail
from tests.contracts.memory_index import MemoryIndex, open_memory
from tests.hosting import until
from tests.ledgers import flip, frames_of, opened, signal_id
from tests.omen_server.index.comparing import append, rows_at, rows_of_ledger

DYING = Path(__file__).parent / "dying_index.py"
DELIVERED, LEDGER_ONLY = 1, 3


@pytest.fixture
def url(tmp_path: Path) -> str:
    """
    Return where an index may lie.
    """
    return f"sqlite:///{tmp_path}/index.db"


@asynccontextmanager
async def following(ledger: Ledger, index: Index, tail: Tail | None = None, **limits: Any) -> AsyncIterator[Follower]:
    """
    Let a follower that has caught up run while the block does.
    """
    follower = Follower(ledger.identity, tail or Tail(ledger), index, **({"retry_min_s": 0.001} | limits))
    await follower.catch_up()
    running = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def catch_up(ledger: Ledger, url: str) -> str:
    """
    Start an index on a ledger; it must agree with it then. Return why it forgot something.
    """
    async with open_index(url) as index:
        follower = Follower(ledger.identity, Tail(ledger), index)
        done = await follower.catch_up()
        assert follower.indexed_offset == done.offset == ledger.durable_offset
        again = await follower.catch_up()
        assert (again.reason, again.rows) == ("", 0)
    assert await rows_at(url) == await rows_of_ledger(ledger)
    return done.reason


@pytest.mark.parametrize("moment", ["before", "within", "after"])
async def test_killed_while_it_indexes(tmp_path: Path, url: str, moment: str) -> None:
    """
    After SIGKILL between append and index, in the index's transaction or behind it, a start makes them agree.
    """
    place = tmp_path / "ledger"
    process = await asyncio.create_subprocess_exec(sys.executable, DYING, str(place), url, moment)
    assert await process.wait() == -9
    assert len(await rows_at(url)) == (20 if moment == "after" else 10)
    async with opened(place) as ledger:
        assert ledger.durable_offset == 20
        assert await catch_up(ledger, url) == ""


def remove(place: Path) -> None:
    """
    Delete an index with all its files.
    """
    for file in place.glob("index.db*"):
        file.unlink()


async def test_deleted_index_is_made_anew(tmp_path: Path, url: str) -> None:
    """
    An index that is gone, or was never there, holds the whole ledger after a start.
    """
    async with opened(tmp_path / "ledger") as ledger:
        await append(ledger, range(1200))
        assert await catch_up(ledger, url) == ""
        remove(tmp_path)
        assert await catch_up(ledger, url) == ""
        assert len(await rows_at(url)) == 1200


async def test_index_ahead_is_cut(tmp_path: Path, url: str) -> None:
    """
    What recovery has cut from the ledger is cut from the index, and the rows before it are not read again.
    """
    short = tmp_path / "short"
    async with opened(tmp_path / "ledger") as ledger:
        await append(ledger, range(10))
    shutil.copytree(tmp_path / "ledger", short)
    async with opened(tmp_path / "ledger") as ledger:
        await append(ledger, range(10, 20))
        await catch_up(ledger, url)
    async with opened(short) as ledger, open_index(url) as index:
        follower = Follower(ledger.identity, Tail(ledger), index)
        with capture_logs() as logs:
            done = await follower.catch_up()
        assert (done.rows, done.offset) == (0, 10)
        assert [(each["event"], each["kept_offset"]) for each in logs if each["log_level"] == "warning"] == [
            ("index_cut", 10)
        ]
        assert "20" in done.reason
        assert await rows_at(url) == await rows_of_ledger(ledger)


@pytest.mark.parametrize("more", [5, 10, 15])
async def test_other_records_at_the_same_offsets(tmp_path: Path, url: str, more: int) -> None:
    """
    When the ledger gave offsets away again that the index knows, to other records, the index is made anew.
    """
    other = tmp_path / "other"
    async with opened(tmp_path / "ledger") as ledger:
        await append(ledger, range(10))
    shutil.copytree(tmp_path / "ledger", other)
    async with opened(tmp_path / "ledger") as ledger:
        await append(ledger, range(10, 20))
        await catch_up(ledger, url)
    async with opened(other) as ledger:
        await append(ledger, range(100, 100 + more))
        assert "another record" in await catch_up(ledger, url)


async def test_restored_ledger_or_another(tmp_path: Path, url: str) -> None:
    """
    The index of another ledger, or of an earlier epoch of this one, is made anew.
    """
    async with opened(tmp_path / "ledger") as ledger, opened(tmp_path / "other") as other:
        await append(ledger, range(3))
        await append(other, range(5, 8))
        await catch_up(ledger, url)
        assert ledger.identity.ledger_id in await catch_up(other, url)
        other.identity = replace(other.identity, ledger_epoch="f" * 32)
        assert "restored" in await catch_up(other, url)


async def test_another_ledgers_table_is_left_alone(tmp_path: Path, postgres_url: str) -> None:
    """
    In a database that others can reach, another ledger's index is refused, with both ids and what to do, and kept.
    """
    async with opened(tmp_path / "ledger") as ledger, opened(tmp_path / "other") as other:
        await append(ledger, range(3))
        assert await catch_up(ledger, postgres_url) == ""
        with pytest.raises(IndexOfAnother) as refused:
            await catch_up(other, postgres_url)
        for part in (ledger.identity.ledger_id, other.identity.ledger_id, "omen index rebuild"):
            assert part in str(refused.value)
        assert await rows_at(postgres_url) == await rows_of_ledger(ledger)


async def test_gaps_are_passed(tmp_path: Path, url: str) -> None:
    """
    A record that cannot be read leaves no row, in the middle or at the end, and the index is not made anew for it.
    """
    place = tmp_path / "ledger"
    async with opened(place) as ledger:
        await append(ledger, range(10))
    (segment,) = place.glob("*/*.wal")
    starts = [start for start, _ in frames_of(segment)]
    for rank in (4, 9):
        flip(segment, starts[rank] + 40)
    async with opened(place) as ledger:
        assert await catch_up(ledger, url) == ""
        assert len(await rows_at(url)) == 8
        await append(ledger, range(20, 23))
        assert await catch_up(ledger, url) == ""
        assert len(await rows_at(url)) == 11


async def test_follows_what_is_appended(tmp_path: Path, url: str) -> None:
    """
    While it runs, whatever is appended is indexed, offered to the window or not, and whoever waits for it is told.
    """
    async with opened(tmp_path / "ledger") as ledger, open_index(url) as index:
        tail = Tail(ledger, records_max=50)
        async with following(ledger, index, tail) as follower:
            waiting = asyncio.create_task(follower.wait_indexed(150))
            for first in range(0, 150, 30):
                await append(ledger, range(first, first + 30), tail if first != 60 else None)
            assert await waiting == follower.indexed_offset == 150
            assert await follower.wait_indexed(3) == 150
        assert await rows_at(url) == await rows_of_ledger(ledger)


class Unreliable(MemoryIndex):
    """
    An index whose writes fail as long as they are told to.
    """

    failure: Exception | None = None
    attempts = 0

    async def put(self, rows: Any, mark: Mark, after_offset: int) -> None:
        """
        Fail or put.
        """
        self.attempts += 1
        if self.failure is not None:
            raise self.failure
        await super().put(rows, mark, after_offset)

    async def note(self, outcomes: Any) -> None:
        """
        Fail or note.
        """
        if self.failure is not None:
            raise self.failure
        await super().note(outcomes)


async def test_outcome_before_its_row(tmp_path: Path) -> None:
    """
    What the emitter says before the index has the row is kept until it has, and not weakened by what comes then.
    """
    memory = Unreliable()
    async with (
        opened(tmp_path / "ledger") as ledger,
        open_memory(memory) as index,
        following(ledger, index) as follower,
    ):
        memory.failure = IndexUnavailable("away")
        await append(ledger, range(4))
        follower.note([Outcome(2, DELIVERED, "ack-2"), Outcome(3, LEDGER_ONLY)])
        follower.note([Outcome(2, LEDGER_ONLY), Outcome(1, LEDGER_ONLY)])
        await until(lambda: memory.attempts > 2)
        assert memory.outcomes == {}
        memory.failure = None
        await follower.wait_indexed(4)
        follower.note([Outcome(3, DELIVERED, "ack-3")])
        await until(lambda: memory.outcomes.get(3, Outcome(0, 0)).status == DELIVERED)
    assert [memory.outcomes[each] for each in (1, 2, 3)] == [
        Outcome(1, LEDGER_ONLY),
        Outcome(2, DELIVERED, "ack-2"),
        Outcome(3, DELIVERED, "ack-3"),
    ]


async def test_outcome_that_could_not_be_written(tmp_path: Path) -> None:
    """
    An outcome that the index fails on is written once it works again.
    """
    memory = Unreliable()
    async with (
        opened(tmp_path / "ledger") as ledger,
        open_memory(memory) as index,
        following(ledger, index) as follower,
    ):
        await append(ledger, range(1))
        await follower.wait_indexed(1)
        memory.failure = IndexUnavailable("away")
        with capture_logs() as logs:
            follower.note([Outcome(1, DELIVERED, "ack-1")])
            await until(lambda: any(each["event"] == "index_failed" for each in logs))
        memory.failure = None
        await until(lambda: memory.outcomes == {1: Outcome(1, DELIVERED, "ack-1")})


async def test_index_put_back_is_made_again(tmp_path: Path, url: str) -> None:
    """
    An index that was emptied or put back to an older state is noticed and made again while nothing is appended.
    """
    async with (
        opened(tmp_path / "ledger") as ledger,
        open_index(url) as index,
        following(ledger, index, look_s=0.01) as follower,
    ):
        await append(ledger, range(5))
        await follower.wait_indexed(5)
        true = await index.projection.mark()
        for offset in (0, 3):
            await index.projection.cut(offset)
            async with asyncio.timeout(30):
                while await index.projection.mark() != true:  # noqa: ASYNC110 - the index has no events
                    await asyncio.sleep(0)
        assert await rows_at(url) == await rows_of_ledger(ledger)


async def test_outcomes_that_wait_are_bounded(tmp_path: Path) -> None:
    """
    Of more outcomes than may wait the oldest go, and that is said once.
    """
    memory = MemoryIndex()
    async with (
        opened(tmp_path / "ledger") as ledger,
        open_memory(memory) as index,
        following(ledger, index, outcomes_max=10) as follower,
    ):
        with capture_logs() as logs:
            follower.note(Outcome(offset, DELIVERED, f"ack-{offset}") for offset in range(1, 31))
        assert [each["event"] for each in logs] == ["index_outcomes_dropped"]
        await append(ledger, range(30))
        await until(lambda: len(memory.outcomes) == 10)
    assert sorted(memory.outcomes) == list(range(21, 31))


@pytest.mark.parametrize("failure", [IndexUnavailable("away"), RuntimeError("a bug")])
async def test_failing_index_holds_up_nothing(tmp_path: Path, failure: Exception) -> None:
    """
    While the index fails, appends go on and the lag is shown; it is logged once, and tried often until all is there.
    """
    memory = Unreliable()
    async with opened(tmp_path / "ledger") as ledger, open_memory(memory) as index:
        with capture_logs() as logs:
            async with following(ledger, index, retry_max_s=0.002) as follower:
                await append(ledger, range(5))
                await follower.wait_indexed(5)
                memory.failure = failure
                await append(ledger, range(5, 20))
                await until(lambda: memory.attempts > 17)  # In 2 minutes, if the pauses had no bound.
                assert follower.indexed_offset == 5
                assert b"omen_index_lag_records 15.0" in metrics.exposition()
                memory.failure = None
                await append(ledger, range(20, 25))
                await follower.wait_indexed(25)
                await until(lambda: any(each["event"] == "index_works_again" for each in logs))
        assert [memory.rows[each] for each in sorted(memory.rows)] == await rows_of_ledger(ledger)
    told = [each["event"] for each in logs if each["log_level"] != "info"]
    assert told == ["index_failed", "index_works_again"]
    assert b"omen_index_lag_records 0.0" in metrics.exposition()


async def test_damage_while_it_runs(tmp_path: Path, url: str) -> None:
    """
    A file that is damaged under a running index is set aside, and what begins anew holds the whole ledger.
    """
    async with opened(tmp_path / "ledger") as ledger, open_index(url) as index:
        async with following(ledger, index) as follower:
            await append(ledger, range(2000))
            await follower.wait_indexed(2000)
            await asyncio.to_thread(spoil, tmp_path / "index.db")
            while not set_aside(tmp_path):
                await append(ledger, [5000])
                with suppress(IndexUnavailable):
                    await index.lookup.page(Query(text="nothing"))
            await append(ledger, [6000])
            await follower.wait_indexed(ledger.durable_offset)
            (known,) = await index.lookup.find([Wanted(signal_id(6000))])
            assert known is not None
        assert await rows_at(url) == await rows_of_ledger(ledger)


def set_aside(place: Path) -> list[Path]:
    """
    Return the indexes that were set aside.
    """
    return list(place.glob("index.db.damaged-*"))


def spoil(path: Path) -> None:
    """
    Write nonsense over all pages of a database but the first, and over its log.
    """
    for file, start in ((path, 4096), (path.with_name(f"{path.name}-wal"), 0)):
        size = file.stat().st_size
        with file.open("r+b") as stream:
            stream.seek(start)
            stream.write(b"\xa5" * (size - start))

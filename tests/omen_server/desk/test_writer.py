"""
What the desk does when its database does not.
"""

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from omen_server.desk.dead_letters import Failure, of_event, of_signal
from omen_server.desk.errors import DeskBusy, DeskFull, DeskUnavailable
from tests.omen_server.desk.desks import desk_in, locked
from tests.omen_server.desk.outcomes import refusal
from tests.omen_server.pipeline.raw_events import NOW, market


def refused(number: int) -> Failure:
    """
    Return the n-th signal that RiskCast refuses.
    """
    return of_signal(f"OMEN-TEST{number:06d}", number, "INVALID_FIELDS", "title: is missing.")


async def test_locked_database(tmp_path: Path) -> None:
    """
    While somebody else holds the lock a letter is refused as what may be tried again, and afterwards it is kept.
    """
    async with desk_in(tmp_path, busy_timeout_ms=1) as desk:
        with locked(tmp_path):
            with pytest.raises(DeskUnavailable):
                await desk.dead_letters.keep([refused(1)], NOW)
            desk.rejected.keep(market("Euro 2028 winner"), refusal(), NOW)
            with pytest.raises(DeskUnavailable):
                await desk.rejected.page(0, "", 1)
        assert desk.dead_letters.count == 0
        assert all(await desk.dead_letters.keep([refused(1)], NOW))
        desk.rejected.keep(market("Euro 2028 winner"), refusal(), NOW)
        assert len(await desk.rejected.page(0, "", 9)) == 1


async def test_full_disk(tmp_path: Path) -> None:
    """
    On a full disk a letter is refused as such, none of its group is kept, and all is well once there is room.
    """
    async with desk_in(tmp_path) as desk:
        first = await desk.dead_letters.keep([refused(1)], NOW)
        async with desk.dead_letters._writer._transaction("FULL") as connection:
            # Stands for the disk: no page more. It is forgotten with the connection, as if room had been made.
            await connection.execute_fetchall("PRAGMA max_page_count = 1")
        large = of_event(market(description="x" * 100_000), "INTERNAL", "A bug.")
        with pytest.raises(DeskFull) as caught:
            await desk.dead_letters.keep([refused(2), large], NOW)
        assert caught.value.path == tmp_path / "desk.db"
        assert [each.dead_letter_id for each in await desk.dead_letters.page(0, 9)] == first
        assert all(await desk.dead_letters.keep([refused(2), large], NOW))
        assert desk.dead_letters.count == 3


async def test_nothing_is_kept_before_the_log_is_copied(tmp_path: Path) -> None:
    """
    After a failed commit no letter is kept as long as somebody who reads keeps the log from being copied.
    """
    async with desk_in(tmp_path, busy_timeout_ms=1) as desk:
        await desk.dead_letters.keep([refused(1)], NOW)
        with closing(sqlite3.connect(tmp_path / "desk.db", isolation_level=None)) as somebody:
            somebody.execute("BEGIN")
            somebody.execute("SELECT * FROM dead_letters").fetchall()
            with suppress(ZeroDivisionError):
                async with desk.dead_letters._writer._transaction("FULL"):
                    raise ZeroDivisionError
            with pytest.raises(DeskUnavailable, match="somebody who reads"):
                await desk.dead_letters.keep([refused(2)], NOW)
        assert all(await desk.dead_letters.keep([refused(2)], NOW))


async def test_line_is_bounded(tmp_path: Path) -> None:
    """
    More writes than may wait are refused at once, and those in line are kept.
    """
    async with desk_in(tmp_path, waiting_max=2) as desk:
        results = await asyncio.gather(
            *(desk.dead_letters.keep([refused(number)], NOW) for number in range(4)), return_exceptions=True
        )
        assert [isinstance(result, DeskBusy) for result in results] == [False, False, True, True]
        assert desk.dead_letters.count == 2


async def test_what_nobody_waits_for_is_written_before_long(tmp_path: Path) -> None:
    """
    Without anyone asking, what is kept reaches the database by itself, in one transaction with the rest.
    """
    async with desk_in(tmp_path, flush_interval_s=0.01) as desk:
        desk.rejected.keep(market("Euro 2028 winner"), refusal(), NOW)
        async with asyncio.timeout(30):
            while not await desk.rejected._reader.rows("SELECT 1 FROM rejected"):
                await desk.rejected._writer.at_rest()
        assert not desk.rejected._unwritten


async def test_closing_writes_what_is_left(tmp_path: Path) -> None:
    """
    Leaving the desk writes what nobody waited for yet, and the log is moved into the database.
    """
    async with desk_in(tmp_path, flush_interval_s=60.0) as desk:
        desk.rejected.keep(market("Euro 2028 winner"), refusal(), NOW)
    assert not (tmp_path / "desk.db-wal").exists()
    async with desk_in(tmp_path) as desk:
        assert len(await desk.rejected.page(0, "", 9)) == 1

import os
import sqlite3
from pathlib import Path

import pytest

from omen_server.desk.dead_letters import of_signal
from omen_server.desk.errors import DeskFailed, DeskLocked, DeskTooNew, DeskUnavailable
from tests.omen_server.desk.desks import desk_in
from tests.omen_server.pipeline.raw_events import NOW


async def test_second_opening_is_refused(tmp_path: Path) -> None:
    """
    While the desk is open another opening is told who has it; once it is closed, the next may have it.
    """
    async with desk_in(tmp_path):
        with pytest.raises(DeskLocked) as refused:
            async with desk_in(tmp_path):
                pass
    assert refused.value.holder == os.getpid()
    async with desk_in(tmp_path) as desk:
        assert desk.dead_letters.count == 0


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """
    A desk that the very next version has migrated stays closed, and as it is.
    """
    async with desk_in(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "desk.db") as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(DeskTooNew) as caught:
        async with desk_in(tmp_path):
            pass
    assert (caught.value.found, caught.value.known) == (2, 1)


async def test_older_schema_is_upgraded(tmp_path: Path) -> None:
    """
    An empty database, of version 0, is brought to the version of today.
    """
    sqlite3.connect(tmp_path / "desk.db").close()
    async with desk_in(tmp_path) as desk:
        assert desk.dead_letters.count == 0
    database = sqlite3.connect(tmp_path / "desk.db")
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


async def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """
    A database of something else is not written into, nor is a file that is no database.
    """
    with sqlite3.connect(tmp_path / "desk.db") as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(DeskFailed, match="something else"):
        async with desk_in(tmp_path):
            pass
    (tmp_path / "desk.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DeskFailed):
        async with desk_in(tmp_path):
            pass


async def test_closed_desk_says_so(tmp_path: Path) -> None:
    """
    Whoever comes after the end is told that it is over, and nothing is lost quietly.
    """
    async with desk_in(tmp_path) as desk:
        pass
    with pytest.raises(DeskUnavailable):
        await desk.dead_letters.keep([of_signal("OMEN-AAAA", 1, "INVALID_FIELDS", "no")], NOW)
    with pytest.raises(DeskUnavailable):
        await desk.dead_letters.page(0, 1)

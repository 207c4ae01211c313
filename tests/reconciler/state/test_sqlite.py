import asyncio
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omen_storage.faults import Faults
from omen_storage.sqlite import connection as driver
from omen_storage.sqlite import thread
from reconciler.state import StateFailed, StateLocked, StateTooNew, StateUnavailable, StateUrlUnknown, open_state
from reconciler.state.sqlite import runs
from reconciler.state.sqlite.database_file import connect, own_schema
from tests.contracts.exercise_state import DAY, past, result, state
from tests.reconciler.state.whole_runs import last_whole, saved

DYING = Path(__file__).parent / "dying_state.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return a place for a state.
    """
    return tmp_path / "reconcile.db"


@pytest.fixture
def url(path: Path) -> str:
    """
    Return its URL.
    """
    return f"sqlite:///{path}"


def execute(path: Path, sql: str) -> list[tuple[object, ...]]:
    """
    Run *sql* as somebody with a shell would.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(sql).fetchall()


@pytest.mark.parametrize(("moment", "last"), [("append", 1), ("stand", 1), ("commit", 1), ("kept", 2)])
async def test_killed_in_mid_save(url: str, moment: str, last: int) -> None:
    """
    After SIGKILL in mid-save the whole run is there, in history and state, or none of it; saving goes on.
    """
    process = await asyncio.create_subprocess_exec(sys.executable, DYING, url, moment)
    assert await process.wait() == -9
    async with open_state(url) as kept:
        assert await last_whole(kept) == last
        await saved(kept, last + 1)
        assert await last_whole(kept) == last + 1


@pytest.mark.parametrize("lines", [1, 4, 9])
async def test_killed_at_any_time(url: str, lines: int) -> None:
    """
    After SIGKILL at any time every run that was told to be kept is there, and at most one that was not, whole.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, DYING, url, "ever", stdout=pipe)
    assert process.stdout is not None
    for _ in range(lines):
        assert await process.stdout.readline()
    process.kill()
    rest = await process.stdout.read()
    assert await process.wait() == -9
    told = 1 + lines + len(rest.splitlines())
    async with open_state(url) as kept:
        assert told <= await last_whole(kept) <= told + 1


async def test_second_opening_is_refused(path: Path, url: str) -> None:
    """
    While the state is open another opening is refused, with the pid of who has it; afterwards it is let in.
    """
    async with open_state(url):
        with pytest.raises(StateLocked, match=f"{path}.*{os.getpid()}"):
            async with open_state(url):
                pass
    async with open_state(url) as kept:
        assert await kept.runs.get(DAY) is None


async def test_commits_wait_for_the_disk(path: Path, url: str) -> None:
    """
    The connection keeps a log and syncs it at each commit; one that would not is not used.
    """
    async with open_state(url):
        with closing(connect(path)) as connection:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reconciler.state.sqlite.database_file._PRAGMAS", ("PRAGMA synchronous = NORMAL",))
        with pytest.raises(StateFailed, match="synchronous 1"):
            async with open_state(url):
                pass


async def test_tables_are_strict(path: Path, url: str) -> None:
    """
    Every table refuses values of another type than its columns'.
    """
    async with open_state(url):
        pass
    tables = execute(path, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name LIKE 'reconcile%'")
    names = ["reconcile_control", "reconcile_history", "reconcile_parked", "reconcile_state"]
    assert sorted(tables) == [(name, 1) for name in names]


async def test_newer_schema_is_refused(path: Path, url: str) -> None:
    """
    A database that the very next version has migrated is refused and left as it is.
    """
    async with open_state(url) as kept:
        await kept.runs.save(result(), state())
    execute(path, f"PRAGMA user_version = {len(own_schema().scripts) + 1}")
    with pytest.raises(StateTooNew):
        async with open_state(url):
            pass
    assert execute(path, "SELECT partition FROM reconcile_state") == [(DAY,)]


async def test_older_schema_is_upgraded(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Migrations that a database has not seen are run when it is opened, each once, and what it holds stays.
    """
    execute(path, "PRAGMA user_version = 0")
    async with open_state(url) as kept:
        await kept.runs.save(result(), state())
    scripts = [*own_schema().scripts, "ALTER TABLE reconcile_state ADD COLUMN more TEXT NOT NULL DEFAULT 'x';"]
    monkeypatch.setattr("reconciler.state.sqlite.database_file.migrations", lambda _package: scripts)
    for _ in range(2):
        async with open_state(url) as kept:
            assert await kept.runs.get(DAY) == state()
    assert execute(path, "SELECT partition, more FROM reconcile_state") == [(DAY, "x")]
    assert execute(path, "PRAGMA user_version") == [(len(scripts),)]


async def test_database_of_something_else_is_left_alone(path: Path, url: str) -> None:
    """
    A database that is no state is refused, in words, and not changed.
    """
    execute(path, "CREATE TABLE precious (thing TEXT)")
    with pytest.raises(StateFailed, match="something else"):
        async with open_state(url):
            pass
    assert execute(path, "SELECT name FROM sqlite_schema") == [("precious",)]


@pytest.fixture
def no_database(path: Path) -> Iterator[bytes]:
    """
    Put a text where the state should be, and see to it that it is still there at the end.
    """
    text = b"this is no database\n" * 1000
    path.write_bytes(text)
    yield text
    assert path.read_bytes() == text


@pytest.mark.usefixtures("no_database")
async def test_file_of_something_else_is_left_alone(url: str) -> None:
    """
    A file that is no database is refused, in words, and not changed.
    """
    with pytest.raises(StateFailed, match="NOTADB"):
        async with open_state(url):
            pass


async def test_unreadable_rows_are_said(path: Path, url: str) -> None:
    """
    A row that is no message any more is told as a failure.
    """
    async with open_state(url) as kept:
        await kept.runs.save(result(), state())
        execute(path, "UPDATE reconcile_state SET state = x'ff'")
        execute(path, "UPDATE reconcile_history SET result = x'ff'")
        with pytest.raises(StateFailed, match="state"):
            await kept.runs.get(DAY)
        with pytest.raises(StateFailed, match="run"):
            await kept.runs.history("", 0, 1)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite://x.db", "mysql://root:secret@x/y", "x"])
async def test_unknown_urls_are_refused(url: str) -> None:
    """
    What names no engine is refused in words, and no password is repeated.
    """
    with pytest.raises(StateUrlUnknown, match="postgresql") as refused:
        async with open_state(url):
            pass
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("applied", [False, True])
async def test_failed_commit_can_be_repeated(url: str, applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A commit that fails, done or not, is told as unavailable; the save repeated, the run is there once, and durable.
    """
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
    copied: list[str] = []

    def save(connection: sqlite3.Connection, **named: Any) -> None:
        monkeypatch.setattr(runs, "save", original)
        if applied:
            original(connection, **named)
        raise error

    def copy_log(connection: sqlite3.Connection, faults: Faults) -> None:
        copied.append("log")
        original_copy(connection, faults)

    original, original_copy = runs.save, driver.copy_log
    monkeypatch.setattr(thread, "copy_log", copy_log)
    async with open_state(url) as kept:
        monkeypatch.setattr(runs, "save", save)
        with pytest.raises(StateUnavailable, match="IOERR_FSYNC"):
            await kept.runs.save(result(run=1), state())
        assert copied == []
        await kept.runs.save(result(run=1), state())
        assert copied == ["log"]
        assert await past(kept) == [result(run=1)]


async def test_nothing_is_told_before_the_log_is_copied(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After a failed commit nothing is told as long as somebody who reads keeps the log from being copied.
    """

    def impatient(where: Path) -> sqlite3.Connection:
        connection = connect(where)
        connection.execute("PRAGMA busy_timeout = 1")
        return connection

    def save(connection: sqlite3.Connection, **named: Any) -> None:
        monkeypatch.setattr(runs, "save", original)
        original(connection, **named)
        raise sqlite3.OperationalError

    original = runs.save
    monkeypatch.setattr("reconciler.state.sqlite.connect", impatient)
    async with open_state(url) as kept:
        await kept.runs.save(result(run=1), state())
        with closing(sqlite3.connect(path, isolation_level=None)) as somebody:
            somebody.execute("BEGIN")
            somebody.execute("SELECT * FROM reconcile_state").fetchall()
            monkeypatch.setattr(runs, "save", save)
            with pytest.raises(StateFailed):
                await kept.runs.save(result(run=2), state())
            with pytest.raises(StateUnavailable, match="somebody who reads"):
                await past(kept)
        assert await past(kept) == [result(run=2), result(run=1)]


async def test_full_disk_keeps_what_it_has(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When there is no room a save is refused whole, may be tried again, and questions are answered all the while.
    """

    def small(where: Path) -> sqlite3.Connection:
        connection = connect(where)
        connection.execute("PRAGMA max_page_count = 100")
        return connection

    async def fill() -> None:
        for number in range(1, 100):
            await saved(kept, number)

    monkeypatch.setattr("reconciler.state.sqlite.connect", small)
    async with open_state(url) as kept:
        with pytest.raises(StateUnavailable, match="FULL"):
            await fill()
        last = await last_whole(kept)
        with pytest.raises(StateUnavailable, match="FULL"):
            await saved(kept, last + 1)
    monkeypatch.undo()
    async with open_state(url) as kept:
        assert await last_whole(kept) == last
        await saved(kept, last + 1)
        assert await last_whole(kept) == last + 1


async def test_waiting_is_bounded(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    More callers than may wait are refused at once; a cancelled one leaves its run whole or not there.
    """
    monkeypatch.setattr("reconciler.state.sqlite.WAITING_MAX", 3)
    async with open_state(url) as kept:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = [asyncio.create_task(saved(kept, number)) for number in (1, 2, 3)]
            await asyncio.sleep(0)  # Each of them begins, and stands in line.
            with pytest.raises(StateUnavailable, match="3 others"):
                await kept.control.paused()
            waiting[2].cancel()
            other.execute("ROLLBACK")
        await asyncio.gather(*waiting[:2])
        assert await last_whole(kept) == 2
        assert await kept.control.paused() is None

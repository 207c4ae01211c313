import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from omen_storage.sqlite import thread as driver
from omen_storage.sqlite.connection import check_durable, connect, connect_async, engine, transaction
from omen_storage.sqlite.database_file import make_private
from omen_storage.sqlite.meaning import translated
from omen_storage.sqlite.schema import STANDS, Schema, migrate
from omen_storage.sqlite.thread import Thread
from tests.omen_storage.names import FAULTS, Damaged, Failed, Full, TooNew, Unavailable

WRITER = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
SCHEMA = Schema(7, ["CREATE TABLE one (a TEXT);", "CREATE TABLE two (a TEXT);"], FAULTS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return an empty database.
    """
    make_private(tmp_path / "some.db")
    return tmp_path / "some.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Return a connection that writes to it.
    """
    with closing(connect(path, "rw", 50, WRITER)) as connection:
        yield connection


def names(connection: sqlite3.Connection) -> set[str]:
    """
    Return what is in the database.
    """
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_CORRUPT, Damaged),
        (sqlite3.SQLITE_NOTADB, Damaged),
        (sqlite3.SQLITE_FULL, Full),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, Unavailable),
        (sqlite3.SQLITE_READONLY, Unavailable),
        (sqlite3.SQLITE_CANTOPEN, Unavailable),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Failed),
        (sqlite3.SQLITE_ERROR, Failed),
        (None, Failed),
    ],
)
def test_errors_say_what_to_do(code: int | None, meaning: type[Exception]) -> None:
    """
    Each of the driver's errors is one of the store's, by its primary code, and tells its name and no value.
    """
    error = sqlite3.OperationalError("secret")
    if code is not None:
        error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    with pytest.raises(meaning) as raised, translated(FAULTS):
        raise error
    assert str(raised.value) == f"SQLite says {'SQLITE_NAME' if code is not None else 'OperationalError'}"


def test_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The library is named with its version; one without what the schemas need is refused.
    """
    assert engine(FAULTS) == f"SQLite {sqlite3.sqlite_version}"
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(Failed, match=r"older than 3\.37\.0"):
        engine(FAULTS)


async def test_readers_cannot_write(path: Path, connection: sqlite3.Connection) -> None:
    """
    A connection that reads refuses to write, and waits as long as any for a lock; no connection maps the file.
    """
    migrate(connection, SCHEMA)
    reader = await connect_async(path, "ro", 123)
    try:
        settings = [list(await reader.execute_fetchall(f"PRAGMA {name}")) for name in ("busy_timeout", "mmap_size")]
        assert settings == [[(123,)], [(0,)]]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reader.execute("DELETE FROM one")
    finally:
        await reader.close()
    with pytest.raises(sqlite3.OperationalError):
        connect(path.with_name("absent.db"), "rw", 50)


def test_weak_settings_are_refused(path: Path, connection: sqlite3.Connection) -> None:
    """
    A connection that would not wait for the disk at each commit is found out.
    """
    check_durable(connection, FAULTS)
    weak = connect(path, "rw", 50, ["PRAGMA synchronous = NORMAL"])
    with closing(weak), pytest.raises(Failed, match="synchronous 1"):
        check_durable(weak, FAULTS)


def test_transactions_leave_all_or_nothing(connection: sqlite3.Connection) -> None:
    """
    What a block does is there once it is left, and nothing of it when it raises.
    """
    with transaction(connection, "IMMEDIATE"):
        connection.execute("CREATE TABLE kept (a)")
    with pytest.raises(KeyError), transaction(connection, "DEFERRED"):
        connection.execute("CREATE TABLE lost (a)")
        raise KeyError
    assert (names(connection), connection.in_transaction) == ({"kept"}, False)


def test_scripts_are_run_once(connection: sqlite3.Connection) -> None:
    """
    A database is brought to the last version from any before it, and then left alone.
    """
    migrate(connection, Schema(7, SCHEMA.scripts[:1], FAULTS))
    assert connection.execute(STANDS).fetchone() == (1, 7, 1)
    for _ in range(2):
        migrate(connection, SCHEMA)
    assert connection.execute(STANDS).fetchone() == (2, 7, 2)


def test_failed_script_leaves_the_old_version(path: Path, connection: sqlite3.Connection) -> None:
    """
    A script that fails half way leaves the database as it was.
    """
    migrate(connection, SCHEMA)
    broken = Schema(7, [*SCHEMA.scripts, "CREATE TABLE half (a TEXT); CREATE TABLE one (a TEXT);"], FAULTS)
    with closing(connect(path, "rw", 50, WRITER)) as other, pytest.raises(sqlite3.OperationalError):
        migrate(other, broken)
    assert connection.execute(STANDS).fetchone() == (2, 7, 2)
    assert names(connection) == {"one", "two"}


def test_newer_and_foreign_are_refused(connection: sqlite3.Connection) -> None:
    """
    A database of a later version is refused with both versions, and one of something else in words; both stay.
    """
    connection.execute("CREATE TABLE precious (a)")
    with pytest.raises(Failed, match="something else"):
        migrate(connection, SCHEMA)
    connection.execute("PRAGMA application_id = 7")
    connection.execute("PRAGMA user_version = 9")
    with pytest.raises(TooNew) as refused:
        migrate(connection, SCHEMA)
    assert (refused.value.found, refused.value.known) == (9, 2)
    assert names(connection) == {"precious"}


def thread_to(path: Path, *, waiting_max: int = 8, durable: bool = True) -> Thread:
    """
    Return a thread with a connection that writes.
    """
    return Thread("some", lambda: connect(path, "rw", 50, WRITER), FAULTS, waiting_max=waiting_max, durable=durable)


def ask(sql: str) -> Callable[[sqlite3.Connection], list[tuple[object, ...]]]:
    """
    Return a step that runs *sql*.
    """
    return lambda connection: connection.execute(sql).fetchall()


async def test_waiting_is_bounded_and_closing_finishes(path: Path) -> None:
    """
    More than may wait are refused at once; what waits is done before closing, and what comes after is refused.
    """
    thread = thread_to(path, waiting_max=2)
    waiting = [asyncio.create_task(thread.run(ask(f"SELECT {number}"))) for number in (1, 2)]
    await asyncio.sleep(0)  # Each of them begins, and stands in line.
    with pytest.raises(Unavailable, match="2 others"):
        await thread.run(ask("SELECT 3"))
    await thread.close()
    assert await asyncio.gather(*waiting) == [[(1,)], [(2,)]]
    with pytest.raises(Unavailable, match="closing"):
        await thread.run(ask("SELECT 4"))
    await thread.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_another_connection_after_a_failure(path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    """
    After the driver failed the next step has another connection, and before it the log is copied where that counts.
    """
    copied: list[sqlite3.Connection] = []
    monkeypatch.setattr(driver, "copy_log", lambda connection, _faults: copied.append(connection))
    thread = thread_to(path, durable=durable)
    before = await thread.run(lambda connection: connection)
    with pytest.raises(Failed):
        await thread.run(ask("SELECT * FROM absent"))
    after = await thread.run(lambda connection: connection)
    assert await thread.run(lambda connection: connection) is after is not before
    assert copied == ([after] if durable else [])
    await thread.close()


async def test_log_that_cannot_be_copied(path: Path) -> None:
    """
    While somebody reads what the log would be copied over, nothing is read after a failure; then it goes on.
    """
    thread = thread_to(path)
    await thread.run(ask("CREATE TABLE some (a)"))
    with closing(connect(path, "ro", 50)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM some").fetchall()
        await thread.run(ask("INSERT INTO some VALUES (1)"))
        with pytest.raises(Failed):
            await thread.run(ask("SELECT * FROM absent"))
        for _ in range(2):
            with pytest.raises(Unavailable, match="log"):
                await thread.run(ask("SELECT a FROM some"))
    assert await thread.run(ask("SELECT a FROM some")) == [(1,)]
    await thread.close()

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from riskcast_server.store import (
    Store,
    StoreFailed,
    StoreFull,
    StoreLimits,
    StoreLocked,
    StoreUnavailable,
    StoreUrlUnknown,
    backup_store,
    open_store,
)
from riskcast_server.store.sqlite.connection import scalar
from riskcast_server.store.sqlite.signals import SqliteSignals
from tests.contracts.arrivals import DAY, arrival, run
from tests.contracts.store_engines import SqliteDatabase, watch_commits


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    """
    Return a place for a database.
    """
    return SqliteDatabase(tmp_path / "riskcast.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    Mount a file system of 4 MiB, where that is possible.
    """
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        message = f"no small disk can be mounted, so a full one was NOT tested: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_writer_is_durable(database: SqliteDatabase) -> None:
    """
    The connection that writes waits for the disk at each commit, and has the settings that this rests on.
    """
    async with database.opened() as store:
        assert isinstance(store.signals, SqliteSignals)
        names = (
            "journal_mode",
            "synchronous",
            "busy_timeout",
            "wal_autocheckpoint",
            "journal_size_limit",
            "temp_store",
            "mmap_size",
            "trusted_schema",
        )
        thread = store.signals._writer._thread  # The store shows it to nobody.
        settings, isolation = await thread.run(
            lambda connection: (
                {name: scalar(connection, f"PRAGMA {name}") for name in names},
                connection.isolation_level,
            )
        )
    assert isolation is None
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 10_000,
        "wal_autocheckpoint": 1000,
        "journal_size_limit": 64 * 1024 * 1024,
        "temp_store": 2,
        "mmap_size": 0,
        "trusted_schema": 0,
    }


async def test_weak_settings_are_refused(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A connection that would not wait for the disk is not written to.
    """
    monkeypatch.setattr("riskcast_server.store.sqlite.connection._WRITER", ("PRAGMA synchronous = NORMAL",))
    with pytest.raises(StoreFailed, match="synchronous 1"):
        async with database.opened():
            pytest.fail("it was opened")


async def test_tables_are_strict(database: SqliteDatabase) -> None:
    """
    Every table refuses values of another type than its columns'.
    """
    async with database.opened():
        tables = await database.execute(
            "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )
    assert {name for name, _ in tables} == {"signals", "positions", "conflicts", "block_cache", "store_meta"}
    assert all(strict for _, strict in tables)


async def test_files_are_private(database: SqliteDatabase) -> None:
    """
    Nobody else may read the database, its log and index, the lock, or a backup, also where it was once allowed.
    """
    database.path.touch(mode=0o644)
    backup = database.path.with_name("backup.db")
    async with database.opened() as store:
        await store.signals.put(run(1, 10))
        await backup_store(database.url, backup)
        files = sorted(database.path.parent.iterdir())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    names = ["backup.db", "riskcast.db", "riskcast.db-shm", "riskcast.db-wal", "riskcast.db.lock"]
    assert modes == dict.fromkeys(names, 0o600)


async def test_second_server_is_refused(database: SqliteDatabase) -> None:
    """
    A second server on one database is refused, told the pid of the first, and let in when that is gone.
    """
    program = "import asyncio, sys\nfrom riskcast_server.store import open_store\n"
    program += "async def main():\n    async with open_store(sys.argv[1]): print('open')\nasyncio.run(main())"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'proto'}"}
    command = [sys.executable, "-c", program, database.url]
    async with database.opened():
        with pytest.raises(StoreLocked) as refused:
            async with database.opened():
                pytest.fail("it was opened")
        other = await asyncio.to_thread(
            subprocess.run, command, check=False, capture_output=True, text=True, env=environment
        )
    again = await asyncio.to_thread(
        subprocess.run, command, check=False, capture_output=True, text=True, env=environment
    )
    assert refused.value.holder == os.getpid()
    assert other.returncode == 1
    assert f"StoreLocked: {database.path} is open in another server (pid {os.getpid()})" in other.stderr
    assert (again.returncode, again.stdout) == (0, "open\n")


async def test_load_is_never_locked(database: SqliteDatabase) -> None:
    """
    Writers, readers, digests and a backup at once: nobody is told that the database is locked.
    """
    backup = database.path.with_name("backup.db")
    async with database.opened() as store:
        puts = [store.signals.put(run(first, first + 9)) for first in range(1, 3000, 10)]
        reads: list[Any] = [store.positions.coverage(DAY, 1, 3000) for _ in range(20)]
        reads += [store.signals.stats() for _ in range(20)]
        reads += [store.signals.list_signals(limit=50) for _ in range(20)]
        await asyncio.gather(*puts, *reads, backup_store(database.url, backup))
        assert (await store.positions.coverage(DAY, 1, 3000)).count == 3000


async def test_somebody_elses_transaction_is_waited_for(database: SqliteDatabase) -> None:
    """
    While somebody with a shell holds the database, putting is unavailable and reading is not; then it goes on.
    """
    async with open_store(database.url, limits=StoreLimits(busy_timeout_ms=20)) as store:
        await store.signals.put([arrival(1, 1)])
        async with aiosqlite.connect(database.path, isolation_level=None) as shell:
            await shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                await store.signals.put([arrival(2, 2)])
            assert (await store.signals.stats()).stored == 1
            await shell.execute("ROLLBACK")
        (receipt,) = await store.signals.put([arrival(2, 2)])
    assert not receipt.duplicate


async def test_full_disk(small_disk: Path) -> None:
    """
    A full disk is told as such, reading goes on, and storing does once there is room, without opening anew.
    """
    ballast = small_disk / "ballast"
    async with open_store(f"sqlite:///{small_disk}/riskcast.db") as store:
        receipts = await store.signals.put(run(1, 10))
        ballast.write_bytes(bytes(2 << 20))
        stored = 10
        with pytest.raises(StoreFull):
            while True:
                await store.signals.put([arrival(stored + 1, stored + 1, title="x" * 60_000)])
                stored += 1
        assert stored > 10
        for _ in range(3):
            with pytest.raises(StoreFull):
                await store.signals.put([arrival(stored + 1, stored + 1, title="x" * 60_000)])
        answer = await store.positions.coverage(DAY, 1, stored)
        found = await store.signals.lookup([receipts[0].signal_id])
        ballast.unlink()
        (fresh,) = await store.signals.put([arrival(stored + 1, stored + 1, title="x" * 60_000)])
        after = await store.positions.coverage(DAY, 1, stored + 1)
    assert (answer.count, list(answer.missing)) == (stored, [])
    assert found[0].ack_id == receipts[0].ack_id
    assert not fresh.duplicate
    assert after.count == stored + 1


async def test_damage_stops_the_store(database: SqliteDatabase) -> None:
    """
    What cannot be repaired by retrying fails the put and every one after it.
    """
    async with database.opened() as store:
        await store.signals.put([arrival(1, 1)])
        await database.execute("DROP TABLE conflicts")
        changed = arrival(1, 1, title="Another title")
        with pytest.raises(StoreFailed):
            await store.signals.put([changed])
        with pytest.raises(StoreFailed):
            await store.signals.put([arrival(2, 2)])


async def test_failed_commit_copies_the_log(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After a commit that failed and can be read nevertheless, the log is copied before anything is told of it.
    """
    commits = watch_commits(monkeypatch)
    log = Path(f"{database.path}-wal")
    async with database.opened() as store:
        assert (await store.signals.stats()).stored == 0  # Somebody reads, else closing would remove the log.
        commits.fail(database.failure, applied=True)
        with pytest.raises(StoreUnavailable):
            await store.signals.put([arrival(1, 1)])
        size_bytes = _size_bytes(log)
        with commits.held():
            retry = asyncio.create_task(store.signals.put([arrival(1, 1)]))
            commits.reached.clear()
            await commits.reached.wait()
            copied_bytes = _size_bytes(log)
        assert (await retry)[0].duplicate
    assert size_bytes > 0
    assert copied_bytes == 0


async def test_nothing_is_told_before_the_log_is_copied(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    As long as somebody who reads keeps the log from being copied, what a failed commit left is told to nobody.
    """
    commits = watch_commits(monkeypatch)
    async with open_store(database.url, limits=StoreLimits(busy_timeout_ms=1)) as store:
        await store.signals.put([arrival(1, 1)])
        with closing(sqlite3.connect(database.path, isolation_level=None)) as somebody:
            somebody.execute("BEGIN")
            somebody.execute("SELECT * FROM signals").fetchall()
            commits.fail(database.failure, applied=True)
            with pytest.raises(StoreUnavailable):
                await store.signals.put([arrival(2, 2)])
            with pytest.raises(StoreUnavailable, match="somebody who reads"):
                await store.signals.put([arrival(2, 2)])
        assert (await store.signals.put([arrival(2, 2)]))[0].duplicate


async def test_foreign_database_is_refused(database: SqliteDatabase) -> None:
    """
    A database of something else is left alone, and so is a file that is none.
    """
    async with aiosqlite.connect(database.path) as other:
        await other.execute("CREATE TABLE theirs (column_1 TEXT)")
        await other.commit()
    with pytest.raises(StoreFailed, match="something else"):
        async with database.opened():
            pytest.fail("it was opened")
    database.path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreFailed, match="NOTADB"):
        async with database.opened():
            pytest.fail("it was opened")


async def test_digest_of_the_past_is_not_cached(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A block that loses a row between being read and being cached is not cached.
    """
    async with database.opened() as store:
        await store.signals.put(run(1, 1024))
        assert isinstance(store.signals, SqliteSignals)
        writer = store.signals._writer  # The only place where the two meet.
        held: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(writer, "remember", held.extend)
            assert (await store.positions.coverage(DAY, 1, 1024)).count == 1024
        await database.execute("DELETE FROM positions WHERE ledger_index = 5")
        writer.remember(held)
        await store.signals.put([])
        assert (await store.positions.coverage(DAY, 1, 1024)).count == 1023
    assert len(held) == 1
    assert await database.execute("SELECT * FROM block_cache") == []


async def test_coverage_reads_few_rows(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With nothing missing, a coverage call reads one row for each cached block and none of its positions.
    """
    read: list[int] = []
    original = aiosqlite.Connection.execute_fetchall

    async def counted(connection: aiosqlite.Connection, sql: str, parameters: Any = None) -> Any:
        rows = list(await original(connection, sql, parameters))
        read.append(len(rows))
        return rows

    async with database.opened() as store:
        for first in range(1, 20 * 1024, 1024):
            await store.signals.put(run(first, first + 1023))
        await store.signals.put(run(20 * 1024 + 1, 20 * 1024 + 3))
        cold = await store.positions.coverage(DAY, 1, 20 * 1024 + 3)
        await store.signals.put([])
        monkeypatch.setattr(aiosqlite.Connection, "execute_fetchall", counted)
        warm = await store.positions.coverage(DAY, 1, 20 * 1024 + 3)
        assert sum(read) == 1 + 20 + 3  # The state, the blocks, the rows of the block that is not complete.
    assert warm == cold


async def test_blocks_that_a_read_cuts(database: SqliteDatabase) -> None:
    """
    Where a read of many rows ends inside a block, that block is counted once, and cached all the same.
    """
    async with database.opened() as store:
        for first in range(1, 18 * 1024, 1024):
            await store.signals.put([each for each in run(first, first + 1023) if each.ledger_index != 7])
        answer = await store.positions.coverage(DAY, 1, 18 * 1024)
        await store.signals.put([])
        cached = await database.execute("SELECT count(*), min(block) FROM block_cache")
        warm = await store.positions.coverage(DAY, 1, 18 * 1024)
    assert answer == warm
    assert [(each.first, each.last) for each in answer.missing] == [(7, 7)]
    assert answer.count == 18 * 1024 - 1
    assert cached == [(17, 1)]


@pytest.mark.parametrize(
    "url", ["sqlite:///", "sqlite:///:memory:", "sqlite:relative", "mysql://host/db", "riskcast.db"]
)
async def test_url_without_an_engine(url: str) -> None:
    """
    A URL that names no file and no known engine is refused before anything is made.
    """
    with pytest.raises(StoreUrlUnknown):
        async with open_store(url):
            pytest.fail("it was opened")


async def test_reopening_finds_the_same_store(database: SqliteDatabase) -> None:
    """
    Closing leaves one file with everything in it, and its epoch stays.
    """
    async with database.opened() as store:
        await store.signals.put(run(1, 100))
        before = await store.signals.stats()
    names = sorted(file.name for file in database.path.parent.iterdir())
    async with database.opened() as store:
        assert await _facts(store) == (before.store_epoch, 100)
    assert names == ["riskcast.db", "riskcast.db.lock"]


async def _facts(store: Store) -> tuple[str, int]:
    stats = await store.signals.stats()
    return stats.store_epoch, stats.stored


def _size_bytes(file: Path) -> int:
    return file.stat().st_size

import shutil
from pathlib import Path

import pytest

from riskcast_server.store import StoreFailed, StoreLocked, backup_store, restore_store
from riskcast_server.store.sqlite import backup as sqlite_backup
from tests.contracts.arrivals import DAY, arrival, run
from tests.contracts.store_engines import SqliteDatabase


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    """
    Return a place for a database.
    """
    return SqliteDatabase(tmp_path / "riskcast.db")


async def test_backup_of_an_open_store(database: SqliteDatabase) -> None:
    """
    A backup taken while the store is open holds what was stored; put back, it has another epoch and the old acks.
    """
    backup = database.path.with_name("backup.db")
    async with database.opened() as store:
        receipts = await store.signals.put(run(1, 2000))
        await backup_store(database.url, backup)
        epoch = (await store.signals.stats()).store_epoch
        await store.signals.put(run(2001, 2100))
        with pytest.raises(StoreLocked):
            await restore_store(database.url, backup)
        with pytest.raises(FileExistsError):
            await backup_store(database.url, backup)
    restored_epoch = await restore_store(database.url, backup)
    async with database.opened() as store:
        answer = await store.positions.coverage(DAY, 1, 2100)
        (again, new) = await store.signals.put([arrival(1, 1), arrival(2050, 2050)])
    assert answer.store_epoch == restored_epoch != epoch
    assert answer.count == 2000
    assert again.ack_id == receipts[0].ack_id
    assert not new.duplicate
    assert not [file for file in database.path.parent.iterdir() if ".part" in file.name]


async def test_crash_before_the_backup_is_in_place(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A restore that is cut off at its last step leaves the old database whole, with what only its log had.
    """
    backup_file, killed = tmp_path / "backup.db", SqliteDatabase(tmp_path / "killed.db")
    async with database.opened() as store:
        await backup_store(database.url, backup_file)
        await store.signals.put(run(1, 10))
        for suffix in ("", "-wal"):  # As a server leaves them that is killed.
            shutil.copyfile(f"{database.path}{suffix}", f"{killed.path}{suffix}")

    def crash(_part: Path, _file: Path) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_backup, "_put_in_place", crash)
        with pytest.raises(InterruptedError):
            await restore_store(killed.url, backup_file)
    async with killed.opened() as store:
        assert (await store.signals.stats()).stored == 10
    await restore_store(killed.url, backup_file)
    async with killed.opened() as store:
        assert (await store.signals.stats()).stored == 0


async def test_restore_into_an_empty_place(database: SqliteDatabase, tmp_path: Path) -> None:
    """
    A backup can be put where no store was; one that is damaged, or none, is refused and changes nothing.
    """
    backup = tmp_path / "backup.db"
    async with database.opened() as store:
        await store.signals.put(run(1, 100))
        await backup_store(database.url, backup)
    elsewhere = SqliteDatabase(tmp_path / "elsewhere" / "riskcast.db")
    await restore_store(elsewhere.url, backup)
    damaged = tmp_path / "damaged.db"
    content = bytearray(backup.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    damaged.write_bytes(content)
    with pytest.raises(StoreFailed):
        await restore_store(elsewhere.url, damaged)
    with pytest.raises(StoreFailed, match="no store"):
        await _restore_nothing(elsewhere, tmp_path)
    async with elsewhere.opened() as store:
        assert (await store.signals.stats()).stored == 100


async def _restore_nothing(database: SqliteDatabase, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    await restore_store(database.url, empty)

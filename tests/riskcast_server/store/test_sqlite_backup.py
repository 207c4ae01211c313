from pathlib import Path

import pytest

from riskcast_server.store import StoreFailed, StoreLocked, backup_store, restore_store
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

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from omen_server.index import open_index
from omen_server.index.follower import Follower
from omen_server.ledger.durable import Disk
from omen_server.ledger.lock import WriterLock
from omen_server.tail import Tail
from tests.clients.command import omen
from tests.ledgers import opened
from tests.omen_server.index.comparing import rows_at, rows_of_ledger

SIGNALS = 65


async def test_rebuilds_what_the_server_would_make(ledger: Path) -> None:
    """
    The index holds the ledger afterwards, whatever was there before, and the server finds nothing to mend in it.
    """
    url = f"sqlite:///{ledger.parent}/index.db"
    async with open_index(url):
        pass
    with closing(sqlite3.connect(ledger.parent / "index.db", isolation_level=None)) as database:
        database.execute("INSERT INTO omen_index VALUES (1, 'another', 'epoch', 1000, 1)")
    done = await asyncio.to_thread(omen, "index", "rebuild", "--data-dir", ledger.parent, "-o", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["engine"].startswith("SQLite")
    # The newest record is written, and only the next start can tell that it is durable.
    assert told["rows"] == told["offset"] == SIGNALS - 1
    async with opened(ledger) as served, open_index(url) as index:
        again = await Follower(served.identity, Tail(served), index).catch_up()
        assert again.reason == ""
        assert again.rows == SIGNALS - told["rows"]
        assert await rows_at(url) == await rows_of_ledger(served)


async def test_rebuilds_postgres(ledger: Path, postgres_url: str) -> None:
    """
    --index names another database, in the environment as well, and the text says how many rows it has.
    """
    done = await asyncio.to_thread(
        omen, "index", "rebuild", OMEN_DATA_DIR=str(ledger.parent), DATABASE_URL=postgres_url
    )
    assert done.code == 0, done.err
    rows = await rows_at(postgres_url)
    assert f"rows    {len(rows)}" in done.out
    assert len(rows) >= SIGNALS - 1
    assert not (ledger.parent / "index.db").exists()


def test_refused_while_the_server_runs(ledger: Path) -> None:
    """
    While a process writes the ledger nothing is touched, and the exit code says so.
    """
    lock = WriterLock(Disk(), str(ledger))
    try:
        done = omen("index", "rebuild", "--data-dir", ledger.parent, "-o", "json")
    finally:
        lock.release()
    assert done.code == 7
    assert json.loads(done.err)["error"]["reason"] == "LEDGER_LOCKED"
    assert not (ledger.parent / "index.db").exists()


async def test_refusals_have_their_codes(ledger: Path, tmp_path: Path) -> None:
    """
    An index that is open, one that nobody serves, an engine nobody knows, no ledger: each has its exit code and words.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    place = ["index", "rebuild", "--data-dir", str(ledger.parent), "--index"]
    async with open_index(url):
        locked = await asyncio.to_thread(omen, *place, url)
    assert locked.code == 7
    assert "open in another process" in locked.err
    away = await asyncio.to_thread(omen, *place, "postgresql://omen:secret@127.0.0.1:1/omen")
    assert (away.code, "secret" in away.err) == (4, False)
    assert (await asyncio.to_thread(omen, *place, "mysql://x/y")).code == 2
    assert (await asyncio.to_thread(omen, "index", "rebuild", "--data-dir", tmp_path / "none")).code == 3

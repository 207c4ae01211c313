import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
from structlog.testing import capture_logs

from omen_server.index import (
    Counts,
    Index,
    IndexFailed,
    IndexLocked,
    IndexTooNew,
    IndexUnavailable,
    IndexUrlUnknown,
    Query,
    Wanted,
    open_index,
)
from omen_server.index.sqlite.database_file import connect_writer, own_schema
from omen_storage.sqlite.schema import migrate
from omen_storage.sqlite.thread import Thread
from tests.contracts.index_rows import filled, mark, offsets, row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return a place for an index.
    """
    return tmp_path / "index.db"


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


async def test_second_opening_is_refused(path: Path, url: str) -> None:
    """
    While the index is open another opening is refused, with the pid of who has it; afterwards it is let in.
    """
    async with open_index(url):
        with pytest.raises(IndexLocked, match=f"{path}.*{os.getpid()}"):
            async with open_index(url):
                pass
    async with open_index(url) as index:
        assert await index.projection.mark() is None


async def test_keys_that_collide(url: str) -> None:
    """
    Of two texts with one short key, each finds its own rows.
    """
    one, other = "8a9e0b75eccc318e", "c4c2e7143c8d44b7"
    assert crc32(one.encode()) == crc32(other.encode())
    async with open_index(url) as index:
        await filled(index, [row(1, trace_id=one), row(2, trace_id=other)])
        assert offsets((await index.lookup.page(Query(trace_ids=[one]))).items) == [1]
        assert offsets((await index.lookup.page(Query(trace_ids=[other]))).items) == [2]


async def test_power_cut_may_not_tear(path: Path, url: str) -> None:
    """
    The connection that writes keeps a log, and syncs as often as that needs to stay whole.
    """
    async with open_index(url):
        with closing(connect_writer(path)) as connection:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 1]


def _no_database(path: Path) -> bytes:
    path.write_bytes(b"this is no database\n" * 1000)
    return path.read_bytes()


def _cut_short(path: Path) -> bytes:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.read_bytes()


def _spoiled(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    return path.read_bytes()


@pytest.mark.parametrize("damage", [_no_database, _cut_short, _spoiled])
async def test_damaged_file_is_set_aside(path: Path, url: str, damage: Callable[[Path], bytes]) -> None:
    """
    A file that is no database, or a damaged one, is kept under another name, said in the log, and begun anew.
    """
    async with open_index(url) as index:
        await filled(index, [row(each) for each in range(1, 300)])
    spoiled = damage(path)
    with capture_logs() as logs:
        async with open_index(url) as index:
            assert await index.projection.mark() is None
            await filled(index, [row(1)])
            assert await index.lookup.counts("2026-01-28") == Counts(1, 1)
    (kept,) = path.parent.glob("index.db.damaged-*[0-9]")
    assert kept.read_bytes() == spoiled
    assert [(each["event"], each["kept_as"]) for each in logs] == [("index_set_aside", str(kept))]
    async with open_index(url) as index:
        assert await index.projection.mark() == mark(1, 3)


async def test_newer_schema_is_refused(path: Path, url: str) -> None:
    """
    A database that the very next version has migrated is refused and left as it is.
    """
    async with open_index(url) as index:
        await filled(index, [row(1)])
    execute(path, f"PRAGMA user_version = {len(own_schema().scripts) + 1}")
    with pytest.raises(IndexTooNew):
        async with open_index(url):
            pass
    assert execute(path, "SELECT count(*) FROM omen_signals") == [(1,)]


async def test_older_schema_is_upgraded(path: Path, url: str) -> None:
    """
    A database of an older version is brought up to date when it is opened, with what it holds; the next version too.
    """
    execute(path, "PRAGMA user_version = 0")
    async with open_index(url) as index:
        await filled(index, [row(1)])
    scripts = [*own_schema().scripts, "ALTER TABLE omen_signals ADD COLUMN more TEXT NOT NULL DEFAULT 'x';"]
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        migrate(database, replace(own_schema(), scripts=scripts))
        migrate(database, replace(own_schema(), scripts=scripts))
    assert execute(path, "SELECT ledger_offset, more FROM omen_signals") == [(1, "x")]
    assert execute(path, "PRAGMA user_version") == [(len(scripts),)]


async def test_database_of_something_else_is_left_alone(path: Path, url: str) -> None:
    """
    A sound database that is no index is refused, neither changed nor set aside.
    """
    execute(path, "CREATE TABLE precious (thing TEXT)")
    with pytest.raises(IndexFailed, match="something else"):
        async with open_index(url):
            pass
    assert execute(path, "SELECT name FROM sqlite_schema") == [("precious",)]


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite://x.db", "mysql://root:secret@x/y", "x"])
async def test_unknown_urls_are_refused(url: str) -> None:
    """
    What names no engine is refused in words, and no password is repeated.
    """
    with pytest.raises(IndexUrlUnknown, match="postgresql") as refused:
        async with open_index(url):
            pass
    assert "secret" not in str(refused.value)


@pytest.fixture
def small_index(url: str) -> Iterator[str]:
    """
    Return the URL of an index whose file may not grow beyond 60 pages.
    """
    with pytest.MonkeyPatch.context() as patch:
        original = Thread._run

        def run(self: Thread, step: object) -> object:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.execute("PRAGMA max_page_count = 60")
            return original(self, step)  # type: ignore[arg-type]  # Whatever it is, it is handed on.

        patch.setattr(Thread, "_run", run)
        yield url


async def test_full_database_keeps_what_it_has(small_index: str) -> None:
    """
    When there is no room the write is refused whole, may be tried again, and questions are answered all the while.
    """

    async def fill(index: Index) -> None:
        for first in range(1, 10_000, 100):
            rows = [row(each, title="x" * 100) for each in range(first, first + 100)]
            await index.projection.put(rows, mark(first + 99), first - 1)

    async with open_index(small_index) as index:
        with pytest.raises(IndexUnavailable, match="FULL"):
            await fill(index)
        found = await index.projection.mark()
        assert found is not None
        page = await index.lookup.page(Query(), rows_max=10_000)
        assert offsets(page.items) == list(range(found.offset, 0, -1))
        with pytest.raises(IndexUnavailable, match="FULL"):
            await index.projection.put(
                [row(each) for each in range(found.offset + 1, found.offset + 400)], mark(9_999), found.offset
            )
        await index.projection.cut(0)
        await index.projection.put([row(1)], mark(1), 0)
        assert offsets(await index.lookup.find([Wanted("OMEN-0001")])) == [1]

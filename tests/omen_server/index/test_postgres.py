import asyncio
import builtins
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from omen_server.index import (
    IndexFailed,
    IndexLocked,
    IndexTooNew,
    IndexUnavailable,
    Outcome,
    Query,
    Wanted,
    open_index,
)
from omen_server.index.errors import FAULTS
from omen_server.index.postgres.schema import own_schema
from omen_storage.postgres.connection import open_database
from omen_storage.postgres.limits import Limits
from omen_storage.postgres.schema import migrate
from tests.contracts.index_rows import filled, mark, offsets, row


async def execute(url: str, sql: str) -> list[Any]:
    """
    Run *sql* as somebody with a shell would.
    """
    connection = await asyncpg.connect(url)
    try:
        return [tuple(each) for each in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_second_server_is_refused(postgres_url: str) -> None:
    """
    While one OMEN has the index open another is refused; afterwards it is let in.
    """
    async with open_index(postgres_url) as index:
        await filled(index, [row(1)])
        with pytest.raises(IndexLocked):
            async with open_index(postgres_url):
                pass
    async with open_index(postgres_url) as index:
        assert await index.projection.mark() == mark(1, 3)


async def test_newer_schema_is_refused(postgres_url: str) -> None:
    """
    A database that a later version has migrated is refused and left as it is.
    """
    async with open_index(postgres_url) as index:
        await filled(index, [row(1)])
    await execute(postgres_url, "UPDATE omen_index SET schema_version = 1000")
    with pytest.raises(IndexTooNew, match="1000"):
        async with open_index(postgres_url):
            pass
    assert await execute(postgres_url, "SELECT ledger_offset FROM omen_signals") == [(1,)]


async def test_older_schema_is_upgraded(postgres_url: str) -> None:
    """
    Migrations that a database has not seen are run when it is opened, each once, and what it holds stays.
    """
    async with open_index(postgres_url) as index:
        await filled(index, [row(1)])
    scripts = [*own_schema().scripts, "ALTER TABLE omen_signals ADD COLUMN more text NOT NULL DEFAULT 'x'"]
    async with open_database(postgres_url, Limits(), FAULTS) as database:
        await migrate(database, replace(own_schema(), scripts=scripts))
        await migrate(database, replace(own_schema(), scripts=scripts))
    assert await execute(postgres_url, "SELECT ledger_offset, more FROM omen_signals") == [(1, "x")]
    assert await execute(postgres_url, "SELECT schema_version FROM omen_index") == [(len(scripts),)]


async def test_cutting_takes_its_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Cutting a large index may take longer than any other statement, on the server's side and on ours.
    """
    limits = Limits(statement_timeout_s=0.25, lock_timeout_s=0.25, idle_in_transaction_timeout_s=0.25)
    async with open_index(postgres_url) as index:
        await filled(index, [row(1), row(2)])
    slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END'"
    await execute(postgres_url, slow)
    await execute(postgres_url, "CREATE TRIGGER slow AFTER DELETE ON omen_signals EXECUTE FUNCTION slow()")
    monkeypatch.setattr("omen_server.index.postgres.LIMITS", limits)
    async with open_index(postgres_url) as index:
        await index.projection.cut(1)
        assert offsets((await index.lookup.page(Query())).items) == [1]


async def test_lives_through_lost_connections(postgres_url: str) -> None:
    """
    Connections that the database ends are told as unavailable, and the next call finds others.
    """
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    async with open_index(postgres_url) as index:
        await filled(index, [row(1)])
        await execute(postgres_url, f"{end} AND pid <> pg_backend_pid()")
        for _ in range(5):
            try:
                await index.projection.put([row(2)], mark(2), 1)
                break
            except IndexUnavailable:
                continue
        assert await index.projection.mark() == mark(2)
        assert offsets((await index.lookup.page(Query())).items) == [2, 1]


async def test_unreachable_is_said(postgres_url: str) -> None:
    """
    A database that nobody serves is told as unavailable, without its URL.
    """
    with pytest.raises(IndexUnavailable, match="cannot be reached") as refused:
        async with open_index("postgresql://omen:secret@127.0.0.1:1/omen"):
            pass
    assert "secret" not in str(refused.value)
    with pytest.raises(IndexFailed, match="InvalidCatalogName"):
        async with open_index(postgres_url.replace("/test_", "/none_")):
            pass


async def test_driver_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the driver, a PostgreSQL URL is refused with the name of the extra.
    """
    original = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "omen_server.index.postgres":
            raise ImportError("No module named 'asyncpg'")
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(IndexFailed, match=r"omen-dualpath\[postgres\]"):
        async with open_index("postgresql://x/y"):
            pass


async def test_writes_and_questions_at_once(postgres_url: str) -> None:
    """
    More callers than there are connections are all answered, while rows and outcomes are written.
    """
    async with open_index(postgres_url) as index:
        await filled(index, [row(each) for each in range(1, 501)])
        asked = [index.lookup.find([Wanted(f"OMEN-{each:04d}")]) for each in range(1, 41)]
        more = index.projection.put([row(501)], mark(501), 500)
        noted = index.projection.note([Outcome(each, 1, f"ack-{each}") for each in range(1, 501)])
        answers, _, _ = await asyncio.gather(asyncio.gather(*asked), more, noted)
        assert [offsets(answer) for answer in answers] == [[each] for each in range(1, 41)]
        (known,) = await index.lookup.find([Wanted("OMEN-0500")])
        assert known is not None
        assert known.ack_id == "ack-500"

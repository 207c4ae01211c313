import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from omen_storage.postgres import connection as driver
from omen_storage.postgres.connection import DURABLE, READ, Database, one, open_database, translated
from omen_storage.postgres.limits import Limits
from omen_storage.postgres.schema import Schema, migrate
from tests.omen_storage.names import FAULTS, Failed, Full, TooNew, Unavailable

BEGIN = "CREATE TABLE meta (one integer, schema_version integer); INSERT INTO meta VALUES (1, 0)"
SCHEMA = Schema("meta", BEGIN, ["CREATE TABLE things (a text)", "INSERT INTO things VALUES ('x')"], 7, FAULTS)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """
    Return an open database, which waits for nothing longer than half a second.
    """
    limits = Limits(statement_timeout_s=0.25, lock_timeout_s=0.25, idle_in_transaction_timeout_s=0.5)
    async with open_database(postgres_url, limits, FAULTS) as database:
        yield database


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.DiskFullError, Full),
        (asyncpg.OutOfMemoryError, Unavailable),
        (asyncpg.SerializationError, Unavailable),
        (asyncpg.IdleInTransactionSessionTimeoutError, Unavailable),
        (asyncpg.ReadOnlySQLTransactionError, Unavailable),
        (asyncpg.InternalClientError, Unavailable),
        (TimeoutError, Unavailable),
        (ConnectionResetError, Unavailable),
        (asyncpg.DataCorruptedError, Failed),
        (asyncpg.UniqueViolationError, Failed),
    ],
)
def test_errors_say_what_to_do(error: type[Exception], meaning: type[Exception]) -> None:
    """
    Each of the driver's errors is one of the store's, by its class, and what the server's text says is not repeated.
    """
    with pytest.raises(meaning) as raised, translated(FAULTS):
        raise error("secret")
    assert error.__name__ in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_commits_wait_for_the_disk(postgres_url: str, database: Database) -> None:
    """
    What is to be durable waits for the database's disk, also where that is set not to; nothing stays on the session.
    """
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    async with database.connection() as connection:
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with open_database(postgres_url, Limits(), FAULTS) as other:
        async with other.transaction(DURABLE) as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
        async with other.connection() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "off"


async def test_transactions_leave_all_or_nothing(database: Database) -> None:
    """
    What a block does is there once it is left, and nothing of it when it raises; a reading one cannot write.
    """
    assert await database.change("CREATE TABLE things AS SELECT generate_series(1, 3) AS a") == 3
    with pytest.raises(KeyError):
        async with database.transaction(DURABLE) as connection:
            await connection.execute("DELETE FROM things")
            raise KeyError
    with pytest.raises(Unavailable, match="ReadOnly"):
        await database.rows("DELETE FROM things")
    async with database.transaction(READ) as connection:
        assert tuple(await one(connection, "SELECT count(*), min(a) FROM things")) == (3, 1)


async def test_statements_have_their_limit(database: Database) -> None:
    """
    A statement that takes too long is ended; one that was given more time, in a transaction that was, is not.
    """
    with pytest.raises(Unavailable, match="QueryCanceled"):
        await database.rows("SELECT pg_sleep(1)")
    async with database.transaction(READ, 10.0) as connection:
        await connection.execute("SELECT pg_sleep(0.6)", timeout=10.0)


async def test_scripts_are_run_once(postgres_url: str) -> None:
    """
    Processes that open an empty database at once run each script once, and one that has them all runs none.
    """
    async with open_database(postgres_url, Limits(), FAULTS) as database:
        await asyncio.gather(*(migrate(database, SCHEMA) for _ in range(3)))
        await migrate(database, SCHEMA)
        assert [tuple(row) for row in await database.rows("SELECT a, schema_version FROM things, meta")] == [("x", 2)]
        await database.change("UPDATE meta SET schema_version = 9")
        with pytest.raises(TooNew) as refused:
            await migrate(database, SCHEMA)
        assert (refused.value.found, refused.value.known) == (9, 2)


async def test_upgrades_may_be_long(database: Database) -> None:
    """
    A script may take as long as its schema says, whatever the limits of other statements are.
    """
    await migrate(database, Schema("meta", BEGIN, ["SELECT pg_sleep(0.6)"], 7, FAULTS, timeout_s=10.0))
    assert tuple((await database.rows("SELECT schema_version FROM meta"))[0]) == (1,)


async def test_old_server_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The server is named with its version; one without what the schemas need is refused.
    """
    assert (await database.engine()).startswith("PostgreSQL 1")
    monkeypatch.setattr(driver, "VERSION_MIN", 9_990_000)
    with pytest.raises(Failed, match="older than 999"):
        await database.engine()

import asyncio
import builtins
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from reconciler.state import PARK_ATTEMPTS, StateFailed, StateTooNew, StateUnavailable, open_state
from reconciler.state.postgres.schema import own_schema
from tests.contracts.exercise_parked import attempt
from tests.contracts.exercise_state import DAY, NOON, past, result, state
from tests.reconciler.state.whole_runs import last_whole, saved


async def execute(url: str, sql: str) -> list[Any]:
    """
    Run *sql* as somebody with a shell would.
    """
    connection = await asyncpg.connect(url)
    try:
        return [tuple(each) for each in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_two_share_a_database(postgres_url: str) -> None:
    """
    Two reconcilers may open one database, at the same time too; the lease tells which of them works.
    """
    async with open_state(postgres_url) as one, open_state(postgres_url) as other:
        assert await one.control.hold("one", 60, NOON) is not None
        assert await other.control.hold("other", 60, NOON) is None
        await one.control.pause("for both")
        assert await other.control.paused() == "for both"
        await one.control.release("one")
        assert await other.control.hold("other", 60, NOON) is not None


async def test_opened_together(postgres_url: str) -> None:
    """
    Processes that find an empty database at once make one schema.
    """

    async def opened() -> None:
        async with open_state(postgres_url) as kept:
            assert await kept.runs.get(DAY) is None

    await asyncio.gather(*(opened() for _ in range(4)))
    assert await execute(postgres_url, "SELECT schema_version FROM reconcile_control") == [(len(own_schema().scripts),)]


async def test_two_count_at_once(postgres_url: str) -> None:
    """
    Refusals that are counted from two places at once, in any order, all count.
    """
    async with open_state(postgres_url) as one, open_state(postgres_url) as other:
        for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
            forth = [attempt(index, day) for index in range(1, 1001)]
            calls = [one.parked.count_attempts(forth), other.parked.count_attempts(forth[::-1])]
            await asyncio.gather(*calls, one.parked.count_attempts(forth))
            assert [each.attempts for each in await one.parked.of(day, None)] == [PARK_ATTEMPTS] * 1000


async def test_newer_schema_is_refused(postgres_url: str) -> None:
    """
    A database that a later version has migrated is refused and left as it is.
    """
    async with open_state(postgres_url) as kept:
        await kept.runs.save(result(), state())
    await execute(postgres_url, "UPDATE reconcile_control SET schema_version = 1000")
    with pytest.raises(StateTooNew, match="1000"):
        async with open_state(postgres_url):
            pass
    assert await execute(postgres_url, "SELECT partition FROM reconcile_state") == [(DAY,)]


async def test_older_schema_is_upgraded(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Migrations that a database has not seen are run when it is opened, each once, and what it holds stays.
    """
    async with open_state(postgres_url) as kept:
        await kept.runs.save(result(), state())
        await kept.control.set_rate(7)
    scripts = [*own_schema().scripts, "ALTER TABLE reconcile_state ADD COLUMN more text NOT NULL DEFAULT 'x'"]
    newer = replace(own_schema(), scripts=scripts)
    monkeypatch.setattr("reconciler.state.postgres.own_schema", lambda: newer)
    for _ in range(2):
        async with open_state(postgres_url) as kept:
            assert await kept.runs.get(DAY) == state()
            assert await kept.control.rate() == 7
    assert await execute(postgres_url, "SELECT partition, more FROM reconcile_state") == [(DAY, "x")]
    assert await execute(postgres_url, "SELECT schema_version FROM reconcile_control") == [(len(scripts),)]


async def test_lives_through_lost_connections(postgres_url: str) -> None:
    """
    Connections that the database ends are told as unavailable; the save repeated, the run is there once.
    """
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    async with open_state(postgres_url) as kept:
        await saved(kept, 1)
        await execute(postgres_url, f"{end} AND pid <> pg_backend_pid()")
        for _ in range(5):
            try:
                await saved(kept, 2)
                break
            except StateUnavailable:
                continue
        assert await last_whole(kept) == 2


@pytest.mark.parametrize("applied", [False, True])
async def test_failed_commit_can_be_repeated(postgres_url: str, applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A connection that breaks in the commit, done or not, is told as unavailable; repeated, the run is there once.
    """
    original = asyncpg.pool.PoolConnectionProxy.execute
    broken: list[bool] = []

    async def execute_or_break(connection: Any, sql: str, *parameters: Any) -> Any:
        if sql != "COMMIT" or broken:
            return await original(connection, sql, *parameters)
        broken.append(True)
        if applied:
            await original(connection, sql)
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async with open_state(postgres_url) as kept:
        monkeypatch.setattr(asyncpg.pool.PoolConnectionProxy, "execute", execute_or_break)
        with pytest.raises(StateUnavailable, match="ConnectionDoesNotExist"):
            await kept.runs.save(result(run=1), state())
        assert (await kept.runs.get(DAY) == state()) == applied
        await kept.runs.save(result(run=1), state())
        assert await past(kept) == [result(run=1)]


async def test_unreachable_is_said(postgres_url: str) -> None:
    """
    A database that nobody serves is told as unavailable, without its URL; one that is not there as a failure.
    """
    with pytest.raises(StateUnavailable, match="cannot be reached") as refused:
        async with open_state("postgresql://omen:secret@127.0.0.1:1/omen"):
            pass
    assert "secret" not in str(refused.value)
    with pytest.raises(StateFailed, match="InvalidCatalogName"):
        async with open_state(postgres_url.replace("/test_", "/none_")):
            pass


async def test_driver_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the driver, a PostgreSQL URL is refused with the name of the extra.
    """
    original = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "reconciler.state.postgres":
            raise ImportError("No module named 'asyncpg'")
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StateFailed, match=r"omen-dualpath\[postgres\]"):
        async with open_state("postgresql://x/y"):
            pass

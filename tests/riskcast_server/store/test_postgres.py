import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from omen_storage.postgres.limits import Limits
from riskcast_server.store import (
    StoreFailed,
    StoreFull,
    StoreLimits,
    StoreUnavailable,
    StoreUrlUnknown,
    backup_store,
    open_store,
    restore_store,
)
from riskcast_server.store.limits import POSTGRES
from riskcast_server.store.postgres.positions import PostgresPositions
from tests.contracts.arrivals import DAY, arrival, run, signal_id
from tests.contracts.store_engines import PostgresDatabase, watch_commits

_RACING = Path(__file__).parent / "racing_store.py"


@pytest.fixture
def database(postgres_url: str) -> PostgresDatabase:
    """
    Return an empty database.
    """
    return PostgresDatabase(postgres_url)


async def test_two_processes_on_one_database(database: PostgresDatabase) -> None:
    """
    Of two processes that put the same signals at the same time, in opposite orders, one is accepted for each signal.
    """
    async with database.opened():
        pass
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            _RACING,
            database.url,
            order,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for order in ("up", "down")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    first, second = (json.loads(output) for output, _ in told)
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(first) == len(second) == 100
    for number in range(1, 101):
        (ack, duplicate), (other_ack, other_duplicate) = first[signal_id(number)], second[signal_id(number)]
        assert ack == other_ack
        assert duplicate != other_duplicate
    assert await _deadlocks(database) == 0
    async with database.opened() as store:
        answer = await store.positions.coverage(DAY, 1, 100)
    assert (answer.count, list(answer.missing)) == (100, [])


async def test_opposite_orders_do_not_deadlock(database: PostgresDatabase) -> None:
    """
    Batches of the same signals, positions and conflicts in opposite orders wait for one another and never in a circle.
    """
    async with database.opened() as one, database.opened() as other:
        batches = []
        for first in range(1, 400, 40):
            batch = [arrival(number, number) for number in range(first, first + 80)]
            batch += [arrival(number, number + 1000, title="Another title") for number in range(first, first + 80)]
            batch += [arrival(number, number + 1) for number in range(first, first + 80)]
            batches.append(batch)
        await asyncio.gather(
            *(one.signals.put(batch) for batch in batches),
            *(other.signals.put(batch[::-1]) for batch in reversed(batches)),
        )
        assert (await one.signals.stats()).stored == 440
    assert await _deadlocks(database) == 0


@pytest.mark.parametrize(
    "blocking",
    [
        (
            "INSERT INTO signals (signal_id, trace_id, ack_id, processed_at, emitted_at, partition_date, "
            "ledger_partition, ledger_index, origin, request_id, content_digest, signal_data) "
            "VALUES ('OMEN-00000002', '', '', now(), now(), '', '', 0, 'direct', '', '', '')"
        ),
        "INSERT INTO positions VALUES ('2026-01-28', 2, '', 0, 0, false)",
    ],
    ids=["signals", "positions"],
)
async def test_keys_are_taken_in_order(database: PostgresDatabase, blocking: str) -> None:
    """
    Two that were held up half way, each with the keys that the other still needs, would never get on; ours do.
    """
    batch = run(1, 3)
    other_signals = [arrival(number + 10, number) for number in (1, 2, 3)]
    async with database.opened() as one, database.opened() as other, database.connected() as shell:
        transaction = shell.transaction()
        await transaction.start()
        await shell.execute(blocking)
        theirs = batch if "signals" in blocking else other_signals
        puts = [asyncio.create_task(one.signals.put(batch)), asyncio.create_task(other.signals.put(theirs[::-1]))]
        while len(await database.execute("SELECT FROM pg_locks WHERE NOT granted")) < 2:
            assert not any(put.done() for put in puts)
        await transaction.rollback()
        await asyncio.gather(*puts)
        answer = await one.positions.coverage(DAY, 1, 3)
    assert answer.count == 3
    assert await _deadlocks(database) == 0


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
async def test_rolled_back_transactions_are_tried_again(
    database: PostgresDatabase, error: type[asyncpg.PostgresError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A transaction that another one was in the way of is tried again, not for ever.
    """
    commits = watch_commits(monkeypatch)
    async with open_store(database.url, limits=StoreLimits(attempts_max=3)) as store:
        for _ in range(2):
            commits.fail(error(), applied=False)
        (receipt,) = await store.signals.put([arrival(1, 1)])
        for _ in range(3):
            commits.fail(error(), applied=False)
        with pytest.raises(StoreUnavailable):
            await store.signals.put([arrival(2, 2)])
        stats = await store.signals.stats()
    assert not receipt.duplicate
    assert stats.stored == 1


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.DiskFullError, StoreFull),
        (asyncpg.QueryCanceledError, StoreUnavailable),
        (asyncpg.LockNotAvailableError, StoreUnavailable),
        (asyncpg.ReadOnlySQLTransactionError, StoreUnavailable),
        (asyncpg.AdminShutdownError, StoreUnavailable),
        (asyncpg.TooManyConnectionsError, StoreUnavailable),
        (asyncpg.DataCorruptedError, StoreFailed),
        (asyncpg.UndefinedTableError, StoreFailed),
        (ConnectionResetError, StoreUnavailable),
    ],
)
async def test_errors_say_what_to_do(
    database: PostgresDatabase, error: type[Exception], meaning: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whatever the driver raises becomes one of our errors, and those that pass leave the store usable.
    """
    commits = watch_commits(monkeypatch)
    async with database.opened() as store:
        commits.fail(error(), applied=False)
        with pytest.raises(meaning) as raised:
            await store.signals.put([arrival(1, 1)])
        assert raised.type is meaning
        if meaning is not StoreFailed:
            assert not (await store.signals.put([arrival(1, 1)]))[0].duplicate


async def test_lost_connections_are_made_again(database: PostgresDatabase) -> None:
    """
    After the server has ended every connection, at worst a few calls are unavailable, and then it goes on.
    """
    async with database.opened() as store:
        await store.signals.put([arrival(1, 1)])
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        for _ in range(POSTGRES.connections_max):
            with suppress(StoreUnavailable):
                await store.signals.put([arrival(1, 1)])
        (receipt,) = await store.signals.put([arrival(1, 1)])
    assert receipt.duplicate


async def test_transactions_have_their_limits(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each transaction waits for the disk, and neither for a lock nor for a caller without end.
    """
    names = (
        "synchronous_commit",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_isolation",
    )
    seen: list[dict[str, str]] = []
    original = PoolConnectionProxy.fetch

    async def shown(connection: Any, sql: str, *parameters: Any) -> Any:
        seen.append({name: (await original(connection, f"SHOW {name}"))[0][0] for name in names})
        return await original(connection, sql, *parameters)

    limits = StoreLimits(postgres=Limits(statement_timeout_s=7, lock_timeout_s=3, idle_in_transaction_timeout_s=5))
    async with open_store(database.url, limits=limits) as store:
        monkeypatch.setattr(PoolConnectionProxy, "fetch", shown)
        await store.signals.put([arrival(1, 1)])
        writing = seen[0]
        seen.clear()
        await store.positions.coverage(DAY, 1, 1)
    assert [writing[name] for name in names] == ["on", "7s", "3s", "5s", "read committed"]
    assert [seen[0][name] for name in names] == ["on", "7s", "3s", "5s", "repeatable read"]


async def test_without_prepared_statements(database: PostgresDatabase) -> None:
    """
    Behind a PgBouncer, with no statement kept and nothing set on the session, everything works.
    """
    async with open_store(database.url, limits=StoreLimits(postgres=Limits(statement_cache_size=0))) as store:
        await store.signals.put(run(1, 1100))
        answer = await store.positions.coverage(DAY, 1, 1200)
        page = await store.signals.list_signals(limit=10)
    assert (answer.count, len(page.items)) == (1100, 10)


async def test_processes_that_migrate_at_once(database: PostgresDatabase) -> None:
    """
    Servers that start together on an empty database take turns, and have one epoch.
    """

    async def epoch() -> str:
        async with database.opened() as store:
            return (await store.signals.stats()).store_epoch

    epochs = await asyncio.gather(*(epoch() for _ in range(4)))
    assert len(set(epochs)) == 1


async def test_digest_waits_for_a_delete_under_way(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A block that is losing a row, not yet committed, is not cached as it was before.
    """
    held: list[Any] = []
    original = PostgresPositions._cache  # It has no public name: the two must meet inside a call.

    async def later(_positions: PostgresPositions, *digests: Any) -> None:
        held.append(digests)

    async with database.opened() as store, database.connected() as shell:
        await store.signals.put(run(1, 1024))
        with monkeypatch.context() as patch:
            patch.setattr(PostgresPositions, "_cache", later)
            assert (await store.positions.coverage(DAY, 1, 1024)).count == 1024
        async with shell.transaction():
            await shell.execute("DELETE FROM positions WHERE ledger_index = 5")
            assert isinstance(store.positions, PostgresPositions)
            caching = asyncio.create_task(original(store.positions, *held[0]))
            while not await database.execute("SELECT FROM pg_locks WHERE NOT granted"):
                assert not caching.done()
        await caching
        assert (await store.positions.coverage(DAY, 1, 1024)).count == 1023
    assert await database.execute("SELECT count(*) FROM block_cache") == [(0,)]


async def test_truncated_tables_are_noticed(database: PostgresDatabase) -> None:
    """
    Emptied tables leave no digest behind.
    """
    async with database.opened() as store:
        await store.signals.put(run(1, 1024))
        await store.positions.coverage(DAY, 1, 1024)
        await database.execute("TRUNCATE positions")
        assert (await store.positions.coverage(DAY, 1, 1024)).count == 0
        assert (await store.signals.stats()).unpositioned == 1024
        await store.signals.put(run(1, 1024))
        await store.positions.coverage(DAY, 1, 1024)
        await database.execute("TRUNCATE signals")
        answer = await store.positions.coverage(DAY, 1, 1024)
    assert (answer.count, answer.unpositioned) == (0, 0)


async def test_epoch_after_a_restore(database: PostgresDatabase, tmp_path: Path) -> None:
    """
    After pg_restore the epoch is renewed, also under a server that is running; PostgreSQL's own tools make the backup.
    """
    async with database.opened() as store:
        before = (await store.signals.stats()).store_epoch
        renewed = await restore_store(database.url)
        after = (await store.positions.coverage(DAY, 1, 1)).store_epoch
    assert before != renewed == after
    with pytest.raises(StoreUrlUnknown):
        await backup_store(database.url, tmp_path / "backup")
    with pytest.raises(ValueError, match="pg_restore"):
        await restore_store(database.url, tmp_path / "backup")


async def test_database_that_is_not_there(database: PostgresDatabase) -> None:
    """
    A database that does not exist is a failure; a server that does not answer is unavailable.
    """
    with pytest.raises(StoreFailed):
        async with open_store(database.url.replace("/test_", "/absent_")):
            pytest.fail("it was opened")
    with pytest.raises(StoreUnavailable):
        async with open_store("postgresql://postgres@/postgres?host=/nonexistent"):
            pytest.fail("it was opened")


async def _deadlocks(database: PostgresDatabase) -> int:
    await database.execute("SELECT pg_stat_force_next_flush()")
    ((count,),) = await database.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)

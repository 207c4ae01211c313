"""
What an engine with a database must do when callers leave, commits fail, processes die, and hands reach into the tables.

`test_store.py` runs it over both; the memory fake has nothing of the kind.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from omen.v1.position_pb2 import BlockFingerprint
from omen_storage.postgres.limits import Limits
from riskcast_server.store import (
    StoreBusy,
    StoreLimits,
    StoreTooNew,
    StoreUnavailable,
    open_store,
)
from tests.contracts.arrivals import DAY, arrival, run, signal_id
from tests.contracts.store_engines import Commits, Database

DatabaseExercise = Callable[[Database, Commits], Awaitable[None]]

_DYING = Path(__file__).parent / "dying_store.py"


async def cancelled_caller_leaves_nothing_open(database: Database, commits: Commits) -> None:
    """
    A caller cancelled in mid-commit leaves its row whole and the store usable, and its retry gets the stored ack.
    """
    async with database.opened() as store:
        with commits.held():
            caller = asyncio.create_task(store.signals.put([arrival(1, 1, request_id="first")]))
            await commits.reached.wait()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        (other,) = await store.signals.put([arrival(2, 2)])
        (retry,) = await store.signals.put([arrival(1, 1, request_id="second")])
    assert not other.duplicate
    assert retry.duplicate
    assert retry.request_id == "first"


async def deadline_in_mid_commit(database: Database, commits: Commits) -> None:
    """
    A deadline that passes in mid-commit touches nobody who shares the transaction.
    """
    async with database.opened() as store:
        with commits.held():
            late = asyncio.create_task(asyncio.wait_for(store.signals.put([arrival(1, 1)]), 0.01))
            patient = asyncio.create_task(store.signals.put([arrival(2, 2)]))
            await commits.reached.wait()
            with pytest.raises(TimeoutError):
                await late
        (receipt,) = await patient
        stats = await store.signals.stats()
    assert not receipt.duplicate
    assert stats.stored == 2


async def cancelled_in_line(database: Database, commits: Commits) -> None:
    """
    Callers cancelled while they wait in line leave the others' receipts in order.
    """
    async with database.opened() as store:
        with commits.held():
            callers = [asyncio.create_task(store.signals.put([each])) for each in run(1, 40)]
            await commits.reached.wait()
            for caller in callers[::2]:
                caller.cancel()
            await asyncio.gather(*callers[::2], return_exceptions=True)
        told = await asyncio.gather(*callers[1::2])
    assert [receipts[0].signal_id for receipts in told] == [signal_id(number) for number in range(2, 41, 2)]


async def failed_commit_is_retried_by_the_caller(database: Database, commits: Commits) -> None:
    """
    A commit that fails, done or not, is told as unavailable; a retry finds out, and the store goes on by itself.
    """
    async with database.opened() as store:
        for number, applied in ((1, False), (2, True), (3, False)):
            commits.fail(database.failure, applied=applied)
            with pytest.raises(StoreUnavailable):
                await store.signals.put([arrival(number, number)])
            (retry,) = await store.signals.put([arrival(number, number)])
            assert retry.duplicate == applied
        assert (await store.positions.coverage(DAY, 1, 3)).count == 3


async def killed_around_commit(database: Database, commits: Commits) -> None:
    """
    After SIGKILL between commit and reply a retry gets the stored ack; after SIGKILL before the commit it is new.
    """
    del commits
    for number, applied in ((1, True), (2, False)):
        process = await asyncio.create_subprocess_exec(sys.executable, _DYING, database.url, str(number), str(applied))
        assert await process.wait() == -9
        async with database.opened() as store:
            before = await store.signals.lookup([signal_id(number)])
            (receipt,) = await store.signals.put([arrival(number, number, request_id="after")])
        assert receipt.duplicate == applied
        assert receipt.request_id == ("before" if applied else "after")
        assert [each.ack_id for each in before] == ([receipt.ack_id] if applied else [])


async def waiting_is_bounded_by_count(database: Database, commits: Commits) -> None:
    """
    More signals than may wait are refused at once, as busy, and those that wait are stored.
    """
    limits = StoreLimits(waiting_signals_max=20, group_signals_max=5, postgres=Limits(connections_max=2))
    async with open_store(database.url, limits=limits) as store:
        with commits.held():
            waiting = [asyncio.create_task(store.signals.put(run(first, first + 9))) for first in (1, 11)]
            await commits.reached.wait()
            with pytest.raises(StoreBusy) as busy:
                await store.signals.put(run(21, 21))
        told = await asyncio.gather(*waiting)
        await store.signals.put(run(21, 60))
        stats = await store.signals.stats()
    assert busy.value.waiting_signals == 20
    assert sum(len(receipts) for receipts in told) == 20
    assert stats.stored == 60


async def waiting_is_bounded_by_bytes(database: Database, commits: Commits) -> None:
    """
    More bytes than may wait are refused at once, as busy.
    """
    async with open_store(database.url, limits=StoreLimits(waiting_bytes_max=1000)) as store:
        with commits.held():
            waiting = asyncio.create_task(store.signals.put([arrival(1, 1, title="x" * 900)]))
            await commits.reached.wait()
            with pytest.raises(StoreBusy):
                await store.signals.put([arrival(2, 2)])
        await waiting
        assert not (await store.signals.put([arrival(2, 2)]))[0].duplicate


async def closing_commits_what_waits(database: Database, commits: Commits) -> None:
    """
    What was taken before closing is stored and told; what comes after is refused.
    """
    async with database.opened() as store:
        with commits.held():
            waiting = [asyncio.create_task(store.signals.put([each])) for each in run(1, 10)]
            await commits.reached.wait()
    told = await asyncio.gather(*waiting)
    assert not any(receipt.duplicate for receipts in told for receipt in receipts)
    with pytest.raises(StoreUnavailable):
        await store.signals.put([arrival(11, 11)])
    async with database.opened() as store:
        assert (await store.signals.stats()).stored == 10


async def deleted_rows_are_noticed(database: Database, commits: Commits) -> None:
    """
    A deleted position, and those of a deleted signal, are missing at once, also from blocks that were cached.
    """
    del commits
    async with database.opened() as store:
        await store.signals.put(run(1, 3000))
        await store.signals.put([arrival(1, 3001)])
        whole = await store.positions.coverage(DAY, 1, 3001)
        await store.signals.put([])
        await database.execute("DELETE FROM positions WHERE ledger_index = 1500")
        without_position = await store.positions.coverage(DAY, 1, 3001)
        await database.execute("DELETE FROM signals WHERE signal_id = 'OMEN-00000001'")
        without_signal = await store.positions.coverage(DAY, 1, 3001)
        stats = await store.signals.stats()
    assert (whole.count, list(whole.missing), whole.unpositioned) == (3001, [], 0)
    assert [(each.first, each.last) for each in without_position.missing] == [(1500, 1500)]
    assert without_position.unpositioned == 1
    missing = [(1, 1), (1500, 1500), (3001, 3001)]
    assert [(each.first, each.last) for each in without_signal.missing] == missing
    assert (stats.stored, stats.unpositioned) == (2999, 1)


async def changed_rows_are_noticed(database: Database, commits: Commits) -> None:
    """
    A changed hash and a moved position show at once, also in cached blocks; a moved one still ends with its signal.
    """
    del commits
    async with database.opened() as store:
        await store.signals.put(run(1, 2048))
        blocks = (
            await store.positions.compare(DAY, 2048, [BlockFingerprint(block=block) for block in (0, 1)])
        ).differing
        await store.signals.put([])
        await database.execute("UPDATE positions SET h1 = ~h1 WHERE ledger_index = 7")
        changed = await store.positions.compare(DAY, 2048, blocks)
        await database.execute("UPDATE positions SET ledger_index = 2049 WHERE ledger_index = 1500")
        moved = await store.positions.coverage(DAY, 1, 2049)
        await database.execute("DELETE FROM signals WHERE signal_id = 'OMEN-00001500'")
        gone = await store.positions.coverage(DAY, 1, 2049)
    assert [block.block for block in changed.differing] == [0]
    assert changed.differing[0].fingerprint_hi == blocks[0].fingerprint_hi ^ (2**64 - 1)
    assert [(each.first, each.last) for each in moved.missing] == [(1500, 1500)]
    assert [(each.first, each.last) for each in gone.missing] == [(1500, 1500), (2049, 2049)]


async def complete_blocks_are_read_from_the_cache(database: Database, commits: Commits) -> None:
    """
    No row of a complete cached block is read: one changed behind the triggers' back shows only past the cache.
    """
    del commits
    async with database.opened() as store:
        await store.signals.put(run(1, 2100))
        before = await store.positions.coverage(DAY, 1, 2100)
        await store.signals.put([])
        for sql in (database.without_triggers, "UPDATE positions SET h1 = ~h1, h2 = ~h2 WHERE ledger_index = 1024"):
            await database.execute(sql)
        cached = await store.positions.coverage(DAY, 1, 2100)
        past_cache = await store.positions.coverage(DAY, 1, 2100, bypass_cache=True)
        inside = await store.positions.coverage(DAY, 1, 1024 + 512)
    assert cached == before
    assert past_cache.fingerprint_hi == before.fingerprint_hi ^ (2**64 - 1)
    assert inside.count == 1536


async def coverage_comes_from_one_snapshot(database: Database, commits: Commits) -> None:
    """
    What is deleted between the queries of a coverage call is not in its answer, and is in the next one.
    """
    deleted = 1

    async def delete_one() -> None:
        nonlocal deleted
        deleted += 1
        # The lowest that is left, and so one that later queries would miss.
        await database.execute("DELETE FROM positions WHERE ledger_index = (SELECT min(ledger_index) FROM positions)")

    async with database.opened() as store:
        await store.signals.put(run(1, 3000))
        await database.execute("DELETE FROM positions WHERE ledger_index = 1")
        first = await store.positions.coverage(DAY, 1, 3000, bypass_cache=True)
        commits.on_read = delete_one
        # The first query sets the snapshot, and the first row is gone by then.
        second = await store.positions.coverage(DAY, 1, 3000, bypass_cache=True)
        commits.on_read = None
        third = await store.positions.coverage(DAY, 1, 3000)
    assert first.count == 2999
    assert [(each.first, each.last) for each in second.missing] == [(1, 2)]
    assert second.count == 2998
    assert deleted > 2
    assert [(each.first, each.last) for each in third.missing] == [(1, deleted)]


async def older_schema_is_upgraded(database: Database, commits: Commits) -> None:
    """
    A database of the version before is upgraded when it is opened, with everything in it.
    """
    del commits
    async with database.opened() as store:
        (first,) = await store.signals.put([arrival(1)])
    for sql in database.older:
        await database.execute(sql)
    async with database.opened() as store:
        (again,) = await store.signals.put([arrival(1, 1)])
        answer = await store.positions.coverage(DAY, 1, 1)
    assert again.duplicate
    assert again.ack_id == first.ack_id
    assert (answer.count, answer.unpositioned) == (1, 0)


async def newer_schema_is_refused(database: Database, commits: Commits) -> None:
    """
    A database that a later version has migrated is refused, and not touched.
    """
    del commits
    async with database.opened() as store:
        await store.signals.put([arrival(1, 1)])
    await database.execute(database.newer)
    with pytest.raises(StoreTooNew) as refused:
        async with database.opened():
            pytest.fail("it was opened")
    assert (refused.value.found, refused.value.known) == (3, 2)


DATABASE_EXERCISES: Final[list[DatabaseExercise]] = [
    cancelled_caller_leaves_nothing_open,
    deadline_in_mid_commit,
    cancelled_in_line,
    failed_commit_is_retried_by_the_caller,
    killed_around_commit,
    waiting_is_bounded_by_count,
    waiting_is_bounded_by_bytes,
    closing_commits_what_waits,
    deleted_rows_are_noticed,
    changed_rows_are_noticed,
    complete_blocks_are_read_from_the_cache,
    coverage_comes_from_one_snapshot,
    older_schema_is_upgraded,
    newer_schema_is_refused,
]

"""
How the one thread that writes is used: what shares a transaction, and what goes on meanwhile.
"""

import asyncio
from pathlib import Path

import pytest

from riskcast_server.store.sqlite.group import Group
from tests.contracts.arrivals import arrival, event_of, run
from tests.contracts.store_engines import SqliteDatabase, watch_commits


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    """
    Return a place for a database.
    """
    return SqliteDatabase(tmp_path / "riskcast.db")


async def test_loop_turns_while_a_transaction_waits_for_the_disk(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The driver that blocks does so in a thread of its own: the loop goes on while a commit is held up there.
    """
    commits = watch_commits(monkeypatch)
    async with database.opened() as store:
        with commits.held():
            put = asyncio.create_task(store.signals.put(run(1, 3)))
            await commits.reached.wait()
            assert not put.done()
        assert len(await put) == 3


async def test_many_rows_go_in_with_few_statements(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However many signals share a transaction, each is stored in its own row, in the order in which they came.
    """
    monkeypatch.setattr("riskcast_server.store.sqlite.group.STATEMENT_ROWS", (8, 3, 1))
    arrivals = run(1, 24)
    for count in (1, 2, 5, 16):
        batch, arrivals = arrivals[:count], arrivals[count:]
        async with database.opened() as store:
            receipts = await store.signals.put(batch)
            found = [await store.signals.get(each.signal_id) for each in batch]
        assert [each.ack_id for each in receipts] == [each.ack_id for each in found if each is not None]
        assert [event_of(each) for each in batch] == [each.event for each in found if each is not None]
    indexes = await database.execute("SELECT ledger_index FROM signals ORDER BY rowid")
    assert indexes == [(index,) for index in range(1, 25)]
    assert await database.execute("SELECT count(*) FROM positions") == [(24,)]


async def test_puts_that_come_while_one_is_written_share_the_next_transaction(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The first is written at once; all that come meanwhile wait for the disk together.
    """
    shared: list[int] = []
    monkeypatch.setattr(
        "riskcast_server.store.sqlite.writer.Group",
        lambda arrivals, acks, at_us: shared.append(len(arrivals)) or Group(arrivals, acks, at_us),  # type: ignore[func-returns-value]
    )
    commits = watch_commits(monkeypatch)
    async with database.opened() as store:
        with commits.held():
            first = asyncio.create_task(store.signals.put([arrival(1, 1)]))
            await commits.reached.wait()
            others = [asyncio.create_task(store.signals.put([arrival(number, number)])) for number in range(2, 12)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)
    assert shared == [1, 10]

"""
The same thing brought again: twenty times at once, after kills at the worst moment, and without the index.
"""

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from omen.v1 import signal_service_pb2 as pb
from omen_client import CallError, OmenClient, RiskCastClient
from tests.e2e.pair import all_of, emitted, ledger_of, omen, raw, ready, riskcast

TIMES = 20
WAYS = ("event", "events", "signal", "signals")
# So many that an index is not made of them in no time.
MANY = range(1000, 4000)


async def brought(client: OmenClient, how: str) -> pb.EmitResult:
    """
    Bring a thing, the same each time, in one of the four ways.
    """
    found: pb.EmitResult | CallError
    match how:
        case "event":
            found = await client.submit(raw(1))
        case "events":
            (found,) = await client.submit_all([raw(2)])
        case "signal":
            found = await client.emit(ready(1).signal)
        case _:
            (found,) = await client.emit_all([ready(2)])
    assert isinstance(found, pb.EmitResult), found
    return found


async def check_once(near: OmenClient, far: RiskCastClient, results: list[pb.EmitResult]) -> None:
    """
    Hold that results of one signal have one event and one ack, and that ledger and RiskCast have it once.
    """
    event, ack_id = results[0].event, results[0].ack_id
    for result in results:
        assert (result.event, result.ack_id) == (event, ack_id)
        assert result.status in {pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_DUPLICATE}
    assert [each for each in await ledger_of(near) if each.signal_id == event.signal_id] == [event]
    assert (await far.processed(event.signal_id)).ack_id == ack_id


@contextmanager
def locked(index: Path) -> Iterator[None]:
    """
    Hold the write lock of an index: its owner can read it, and write nothing.
    """
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


async def test_the_same_twenty_times_at_once_is_one_record(tmp_path: Path) -> None:
    """
    Twenty callers bring the same at one moment: one appends, nineteen are told `cached`, all with its event and ack.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near):
        for how in WAYS:
            results = await asyncio.gather(*(brought(near, how) for _ in range(TIMES)))
            assert sorted(result.cached for result in results) == [False] + [True] * (TIMES - 1)
            offset = results[0].event.ledger_offset
            assert {result.duplicate_of_offset for result in results if result.cached} == {offset}
            again = await brought(near, how)
            assert again.cached
            await check_once(near, far, [*results, again])
        assert len(await ledger_of(near)) == (await far.stats()).stored == len(WAYS)


async def test_a_kill_between_append_and_index_makes_no_second_record(tmp_path: Path) -> None:
    """
    The index cannot be written while signals are appended, pushed and answered; then OMEN is killed. The next one
    answers the same with the first event and the first ack, `cached`; so does one that finds no index at all.
    """
    async with riskcast(tmp_path) as (_, far):
        async with omen(tmp_path) as (server, near):
            with locked(tmp_path / "index.db"):
                told = {how: [await brought(near, how)] for how in WAYS}
                assert {(each.status, each.cached) for (each,) in told.values()} == {(pb.EMIT_STATUS_DELIVERED, False)}
                for how in WAYS:
                    told[how] += await asyncio.gather(*(brought(near, how) for _ in range(TIMES)))
                many = await emitted(near, MANY)
                server.process.kill()
                assert await server.wait() == -signal.SIGKILL
        assert rows(tmp_path / "index.db") == 0, "the index was not behind"
        for index in ("behind", "deleted"):
            if index == "deleted":
                delete(tmp_path)
            async with omen(tmp_path) as (server, near):
                # The last ones first: an index that is still being made would not know them.
                assert await emitted(near, MANY[-3:]) == many[-3:], index
                for how in WAYS:
                    results = await asyncio.gather(*(brought(near, how) for _ in range(TIMES)))
                    assert all(result.cached for result in results), index
                    await check_once(near, far, [*told[how], *results])
                assert await all_of(near.signals()) == (records := await ledger_of(near))[::-1]
                assert len(records) == (await far.stats()).stored == len(WAYS) + len(MANY)
                assert await server.stop() == 0


async def test_a_kill_before_riskcast_has_it_is_mended_by_bringing_it_again(tmp_path: Path) -> None:
    """
    Appended while RiskCast is away and killed before the index has it: brought again once RiskCast is there, it is the
    first record that RiskCast gets, once.
    """
    async with omen(tmp_path) as (server, near):
        with locked(tmp_path / "index.db"):
            first = await brought(near, "event")
            assert first.status == pb.EMIT_STATUS_LEDGER_ONLY
            server.process.kill()
            await server.wait()
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near):
        results = await asyncio.gather(*(brought(near, "event") for _ in range(TIMES)))
        assert all(result.cached for result in results)
        assert {result.event.ledger_offset for result in results} == {1}
        await check_once(near, far, results)


async def test_other_content_under_a_known_id_is_another_record(tmp_path: Path) -> None:
    """
    A ready signal with a known id and other content is appended, and RiskCast's ack is the first one's, as a conflict.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near):
        first = await near.emit(ready(1).signal)
        other = ready(1, "another description").signal
        second = await near.emit(other)
        assert (second.status, second.ack_id, second.cached) == (pb.EMIT_STATUS_DUPLICATE, first.ack_id, False)
        assert "other content" in second.detail
        again = await near.emit(other)
        assert (again.cached, again.duplicate_of_offset, again.ack_id) == (True, 2, first.ack_id)
        assert [event.ledger_offset for event in await ledger_of(near)] == [1, 2]
        assert ((await far.stats()).stored, (await far.stats()).conflicts >= 1) == (1, True)


def rows(index: Path) -> int:
    """
    Return how many signals an index has.
    """
    with closing(sqlite3.connect(index)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM omen_signals").fetchone()
    return int(count)


def delete(place: Path) -> None:
    """
    Delete the index in a place.
    """
    for file in place.glob("index.db*"):
        file.unlink()

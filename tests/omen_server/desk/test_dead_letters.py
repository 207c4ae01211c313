import asyncio
import json
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from omen_server.desk.dead_letters import Failure, of_event, of_signal
from omen_server.desk.errors import DeadLetterNotFound
from tests.omen_server.desk.desks import desk_in
from tests.omen_server.desk.outcomes import refusal
from tests.omen_server.pipeline.raw_events import NOW, market, report
from tests.processes import tree_environment

KEEPING = """
import asyncio, json, sys
from datetime import UTC, datetime
from pathlib import Path
from omen_server.desk.dead_letters import of_signal
from omen_server.desk.desk import open_desk
async def main():
    async with open_desk(Path(sys.argv[1])) as desk:
        ids = await desk.dead_letters.keep([of_signal("OMEN-KILLED", 7, "INVALID_FIELDS", "no")], datetime.now(UTC))
        print(json.dumps(ids), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def refused(number: int) -> Failure:
    """
    Return the n-th signal that RiskCast refuses.
    """
    return of_signal(f"OMEN-TEST{number:06d}", number, "INVALID_FIELDS", "title: is missing.")


async def test_letters_are_kept_over_restarts(tmp_path: Path) -> None:
    """
    Both kinds of letters come back as they were kept, oldest first.
    """
    raw = market()
    async with desk_in(tmp_path) as desk:
        ids = await desk.dead_letters.keep([of_event(raw, "INTERNAL", "A bug."), refused(3)], NOW)
    async with desk_in(tmp_path) as desk:
        assert desk.dead_letters.count == 2
        event, signal_letter = await desk.dead_letters.page(0, 10)
    assert [event.dead_letter_id, signal_letter.dead_letter_id] == ids
    assert (event.stage, event.raw, event.signal_id, event.reason) == ("pipeline", raw, "", "INTERNAL")
    assert (event.message, event.attempts, event.at_ns) == ("A bug.", 1, int(NOW.timestamp()) * 10**9)
    assert (signal_letter.stage, signal_letter.signal_id, signal_letter.offset) == ("hot_path", "OMEN-TEST000003", 3)


async def test_killed_process_has_kept_it(tmp_path: Path) -> None:
    """
    A letter whose id somebody was told is there after SIGKILL.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KEEPING,
        str(tmp_path / "desk.db"),
        stdout=asyncio.subprocess.PIPE,
        env=tree_environment(),
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        ids = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with desk_in(tmp_path) as desk:
        [letter] = await desk.dead_letters.get(ids)
    assert letter.signal_id == "OMEN-KILLED"


async def test_writes_are_synced(tmp_path: Path) -> None:
    """
    What is awaited is committed with a sync of the log, what is not without one.
    """
    async with desk_in(tmp_path) as desk:
        writer = desk.dead_letters._writer
        async with writer._transaction("FULL") as connection:
            [(full,)] = await connection.execute_fetchall("PRAGMA synchronous")
        async with writer._transaction("NORMAL") as connection:
            [(bulk,)] = await connection.execute_fetchall("PRAGMA synchronous")
        seen: list[str] = []
        original = writer._transaction
        writer._transaction = lambda mode: (seen.append(mode), original(mode))[1]  # type: ignore[method-assign, func-returns-value, assignment]
        await desk.dead_letters.keep([refused(1)], NOW)
        desk.rejected.keep(market(), refusal(), NOW)
        await writer.flush()
    assert (full, bulk, seen) == (2, 1, ["FULL", "NORMAL"])


async def test_same_subject_is_the_same_letter(tmp_path: Path) -> None:
    """
    A subject that fails again makes no second letter: attempts are counted, and the newest reason is told.
    """
    async with desk_in(tmp_path) as desk:
        letters = desk.dead_letters
        first = await letters.keep([refused(1), of_event(market(), "INTERNAL", "A bug.")], NOW)
        later = NOW + timedelta(hours=1)
        seen_again = market(age_s=-60)
        second = await letters.keep([of_event(seen_again, "STORE_UNAVAILABLE", "No."), refused(1), refused(1)], later)
        assert second == [first[1], first[0], first[0]]
        assert letters.count == 2
        one, other = await letters.get(first)
    assert (one.attempts, other.attempts) == (3, 2)
    assert (other.reason, other.raw, other.at_ns) == ("STORE_UNAVAILABLE", seen_again, int(NOW.timestamp()) * 10**9)


async def test_full_desk_says_so(tmp_path: Path) -> None:
    """
    Without room a new letter gets no id and is counted as refused; a known one is still counted on.
    """
    before = REGISTRY.get_sample_value("omen_dead_letters_refused_total", {"stage": "hot_path"}) or 0.0
    async with desk_in(tmp_path, dead_letters_max=2) as desk:
        ids = await desk.dead_letters.keep([refused(1), refused(2), refused(3), refused(1)], NOW)
        assert [bool(each) for each in ids] == [True, True, False, True]
        assert desk.dead_letters.count == 2
        error = desk.dead_letters.no_room()
        assert (error.dead_letters_max, error.free_bytes > 0) == (2, True)
        await desk.dead_letters.forget(ids[:1])
        assert all(await desk.dead_letters.keep([refused(3)], NOW))
    assert REGISTRY.get_sample_value("omen_dead_letters_refused_total", {"stage": "hot_path"}) == before + 1


async def test_pages_and_ids(tmp_path: Path) -> None:
    """
    Pages and batches of ids go through all letters once, oldest first.
    """
    async with desk_in(tmp_path) as desk:
        kept = await desk.dead_letters.keep([refused(number) for number in range(7)], NOW)
        first = await desk.dead_letters.page(0, 3)
        rest = await desk.dead_letters.page(first[-1].number, 10)
        assert [each.dead_letter_id for each in (*first, *rest)] == kept
        batches = [batch async for batch in desk.dead_letters.ids(3)]
    assert batches == [kept[:3], kept[3:6], kept[6:]]


async def test_letters_that_come_meanwhile_are_not_among_all(tmp_path: Path) -> None:
    """
    All are those that were there at the beginning: a letter that fails again and again ends no loop over them.
    """
    async with desk_in(tmp_path) as desk:
        await desk.dead_letters.keep([refused(1), refused(2)], NOW)
        seen = []
        async for batch in desk.dead_letters.ids(1):
            seen += batch
            await desk.dead_letters.keep([refused(100 + len(seen))], NOW)
        assert len(seen) == 2
        assert desk.dead_letters.count == 4


async def test_forgetting(tmp_path: Path) -> None:
    """
    Forgetting tells how many there were; ids are not given again.
    """
    async with desk_in(tmp_path) as desk:
        ids = await desk.dead_letters.keep([refused(number) for number in range(4)], NOW)
        assert await desk.dead_letters.forget([ids[0], ids[0], "DL-00000000FF"]) == 1
        assert await desk.dead_letters.tried_again(ids[1:2]) == 1
        assert [each.attempts for each in await desk.dead_letters.page(0, 9)] == [2, 1, 1]
        assert await desk.dead_letters.forget_all() == 3
        assert desk.dead_letters.count == 0
        [new] = await desk.dead_letters.keep([refused(0)], NOW)
    assert new not in ids


@pytest.mark.parametrize("unknown", ["DL-00000000FF", "DL-ff", "OMEN-AAAA", "", "DL-00000000FF\n"])
async def test_unknown_ids(tmp_path: Path, unknown: str) -> None:
    """
    An id that is not there, or is none, is named.
    """
    async with desk_in(tmp_path) as desk:
        ids = await desk.dead_letters.keep([of_event(report(), "INTERNAL", "A bug.")], NOW)
        with pytest.raises(DeadLetterNotFound) as caught:
            await desk.dead_letters.get([*ids, unknown])
    assert caught.value.dead_letter_id == unknown


async def test_odd_messages_are_kept(tmp_path: Path) -> None:
    """
    A message that UTF-8 cannot say, or that is endless, is kept as far as it can be told.
    """
    async with desk_in(tmp_path) as desk:
        await desk.dead_letters.keep([of_event(market(), "INTERNAL", "\ud800" + "ü" * 2_000)], NOW)
        [letter] = await desk.dead_letters.page(0, 1)
    assert letter.message.startswith("?ü")
    assert len(letter.message.encode()) <= 1_000


async def test_group_shares_a_transaction(tmp_path: Path) -> None:
    """
    Whoever keeps at the same time gets an id of its own, and a caller that goes away takes nobody's letter along.
    """
    async with desk_in(tmp_path) as desk:
        tasks = [asyncio.create_task(desk.dead_letters.keep([refused(number)], NOW)) for number in range(40)]
        await asyncio.sleep(0)
        tasks[5].cancel()
        kept = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(kept[5], asyncio.CancelledError)
        assert len({str(ids) for ids in kept}) == 40
        assert len(await desk.dead_letters.page(0, 100)) == 40

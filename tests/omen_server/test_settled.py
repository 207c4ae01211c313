import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen_rpc.position import Position
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.settled import Frontier, SettledMarks, Standing, standing
from tests.ledgers import DAY, LATE, NEXT, TOMORROW, Clock, entries, opened

NAMES = (DAY, LATE, NEXT)


def place(partition: str, index: int, offset: int) -> Position:
    """
    Return a position.
    """
    return Position(partition, (1 << 32) | index, index, offset, offset - 1, 1)


def gap(partition: str, index: int, offset: int) -> Gap:
    """
    Return the gap of one position.
    """
    return Gap(partition, index, index, index, index, offset, offset, "", 0, "says the test")


@given(st.data())
def test_never_above_what_is_unsettled(data: st.DataObject) -> None:
    """
    Whatever the order in which signals of several partitions are read, settled or lost, both marks stay below the first
    unsettled one, never fall, and reach the end when nothing is left.
    """
    begun = {name: data.draw(st.integers(0, 3), label=name) for name in NAMES[:2]}
    begin = Standing(sum(begun.values()), begun)
    marks = SettledMarks(begin)
    last = {name: begun.get(name, 0) for name in NAMES}
    offset, unsettled = begin.offset, list[Position]()
    before = {name: marks.of(name) for name in NAMES}
    for step in data.draw(st.lists(st.sampled_from(["take", "gap", "settle"]), max_size=40), label="steps"):
        if step == "settle":
            if unsettled:
                marks.settle(unsettled.pop(data.draw(st.integers(0, len(unsettled) - 1))))
        else:
            name, offset = data.draw(st.sampled_from(NAMES)), offset + 1
            last[name] += 1
            if step == "gap":
                marks.skip(gap(name, last[name], offset))
            else:
                unsettled.append(place(name, last[name], offset))
                marks.take(unsettled[-1])
        for name in NAMES:
            index_max = min((each.index for each in unsettled if each.partition == name), default=last[name] + 1) - 1
            offset_max = min((each.offset for each in unsettled), default=offset + 1) - 1
            assert marks.of(name) == (index_max, offset_max)
            assert marks.of(name) >= before[name]
            before[name] = marks.of(name)
    for each in unsettled:
        marks.settle(each)
    assert [marks.of(name) for name in NAMES] == [(last[name], offset) for name in NAMES]


def test_order_is_required() -> None:
    """
    A signal below one that was read already is a bug and no case.
    """
    marks = SettledMarks(Standing(5, {DAY: 5}))
    with pytest.raises(ValueError, match="5 after 5"):
        marks.take(place(DAY, 5, 5))


def test_hole_without_a_partition() -> None:
    """
    Offsets that nobody holds are settled; no partition moves for them.
    """
    marks = SettledMarks(Standing(1, {DAY: 1}))
    marks.skip(Gap("", 0, 0, 0, 0, 2, 4, "", 0, "No record holds these offsets"))
    assert marks.of(DAY) == (1, 4)
    assert marks.of(NEXT) == (0, 4)


async def test_standing_of_a_ledger(tmp_path: Path) -> None:
    """
    A ledger at rest stands where all of its partitions end.
    """
    async with opened(tmp_path, Clock(TOMORROW)) as ledger:
        await ledger.append(entries(range(3)))
        await ledger.append(entries(range(3, 5), TOMORROW))
        assert await standing(ledger) == Standing(5, {DAY: 3, NEXT: 2})


async def test_standing_while_the_writer_works(tmp_path: Path) -> None:
    """
    However often it is taken beside appends, no position in it lies above its offset, and none below it is left out.
    """
    async with opened(tmp_path) as ledger:
        appending = asyncio.create_task(append_all(ledger))
        taken = 0
        while not appending.done():
            now = await standing(ledger)
            assert sum(now.indexes.values()) == now.offset
            taken += 1
            await asyncio.sleep(0)
        await appending
        assert taken > 1
        assert await standing(ledger) == Standing(300, {DAY: 300})


async def append_all(ledger: Ledger) -> None:
    """
    Append in many small groups.
    """
    for number in range(300):
        await ledger.append(entries([number]))


async def test_standing_in_the_middle_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While a write has moved a partition's position and not yet the durable offset, nobody is told of that position.
    """
    async with opened(tmp_path) as ledger:
        await ledger.append(entries(range(3)))
        tail = ledger._journal.tails()[DAY]
        # Where the writer is just before the last line of a group's write.
        tail.index, ledger._journal.written_offset = 4, 4

        async def moved(offset: int) -> int:
            assert offset == 3
            ledger._journal.durable_offset = 4
            return 4

        monkeypatch.setattr(ledger, "wait_beyond", moved)
        assert await standing(ledger) == Standing(4, {DAY: 4})


def test_a_gap_behind_what_was_taken_moves_nothing_back() -> None:
    """
    A gap that ends before the last number taken does not lower the frontier.
    """
    row = Frontier(0)
    row.take(3)
    row.skip(2)
    row.settle(3)
    assert row.through == 3
